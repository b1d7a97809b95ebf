"""One frame rate from the sampler to the film."""

from ..names import DECODE, STAGE_ONE_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .report import Report

# Nodes of others that make a film, and their input for the frame rate.
FILM_MAKERS = {"CreateVideo": "fps", "VHS_VideoCombine": "frame_rate"}
DECODERS = (DECODE, "VAEDecode", "VAEDecodeTiled")
LTXV_CONDITIONING = "LTXVConditioning"
NUMBER = (int, float)


def check_film_rate(graph: PromptGraph, node: Node, report: Report) -> None:
    """What makes the film asks for the frame rate again."""
    slot = FILM_MAKERS[node.type]
    fps, made = node.value(slot, NUMBER), _made_rate(graph, node)
    if not fps or not made or fps == made or _may_interpolate(graph, node, fps / made):
        return
    report.warn(node, f"The video is made for {made:g} frames a second, but this node plays it at {fps:g}: picture "
                f"and sound drift apart. Set {slot} to {made:g}.")  # fmt: skip


def check_conditioning_rate(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """Core's LTXVConditioning says a frame rate too, which our stages take from the sampler or the latent."""
    made = sampler.value("fps", NUMBER) if sampler.type == STAGE_ONE_SAMPLER else _made_rate(graph, sampler)
    texts = [text for name in ("positive", "negative") if (text := graph.source(sampler, name)) is not None]
    for node in [*texts, *(before for text in texts for before in graph.ancestors(text))]:
        rate = node.value("frame_rate", NUMBER) if node.type == LTXV_CONDITIONING else None
        if rate is not None and made is not None and rate != made:
            report.warn(node, f"frame_rate {rate:g} has no effect: the video is made for the {made:g} frames a second "
                        f"of LTX Stage One Sampler. Set frame_rate to {made:g}, or fps of the sampler to "
                        f"{rate:g}.")  # fmt: skip


def _made_rate(graph: PromptGraph, node: Node) -> float | None:
    """The frame rate of the stage-one samplers that a node depends on, if it is known and one."""
    rates = {sampler.value("fps", NUMBER) for sampler in graph.ancestors(node) if sampler.type == STAGE_ONE_SAMPLER}
    return next(iter(rates)) if len(rates) == 1 else None


def _may_interpolate(graph: PromptGraph, node: Node, factor: float) -> bool:
    """Whether a node between the decoder and this one may have made whole multiples of the frames."""
    source = graph.source(node, "images")
    return factor.is_integer() and source is not None and source.type not in DECODERS
