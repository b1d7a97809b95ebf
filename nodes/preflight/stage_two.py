"""What stage two needs: distilled weights, an enlarged latent, and what stage one had."""

from itertools import takewhile

from ...ltx_core.sampling.geometry import SPATIAL_FACTOR
from ...ltx_core.variants import Kind, variant_of
from ..names import (
    CONTINUE,
    FILM_CONDITIONS,
    HALF,
    LATENT_UPSAMPLER,
    LOAD_LATENT,
    MODEL_LOADER,
    REFERENCE_VIDEO,
    REFERENCE_VOICE,
    SOUND_CONDITION,
    STAGE_ONE_SAMPLER,
)
from ..prompt_graph import Node, PromptGraph
from .core_loaders import generation_of, model_file
from .distilled import is_distilled_lora, model_kind
from .frames import check_frames
from .latents import PASSING, latent_chain, picture_of, size_of
from .report import Files, Report
from .sounds import given_sounds

_NO_IMAGES = {SOUND_CONDITION, *FILM_CONDITIONS, REFERENCE_VIDEO, REFERENCE_VOICE}
ENLARGED = 2 * SPATIAL_FACTOR  # sizes of enlarged latents are multiples of so many pixels


def check_stage_two(graph: PromptGraph, sampler: Node, files: Files, has_gpu: bool, report: Report) -> None:
    loaders = list(graph.chain(sampler, "model"))
    _check_distilled_weights(sampler, loaders, files, report)
    before = list(latent_chain(graph, sampler))
    first = next((node for node in before if node.type == STAGE_ONE_SAMPLER), None)
    picture = picture_of(graph, sampler, files)
    check_frames(graph, sampler, picture.frames, report)
    since = takewhile(lambda node: node is not first, before)
    upsamplers = [node for node in since if node.type == LATENT_UPSAMPLER]
    origin = next((node.type for node in before if node.type not in PASSING), None)
    # Whether a saved latent was enlarged already only its size can tell, and only where no enlarged one has that size.
    odd = None not in (picture.height, picture.width) and (picture.height % ENLARGED or picture.width % ENLARGED)
    small = origin == STAGE_ONE_SAMPLER and first is not None and size_of(first) == HALF
    if small or (origin == LOAD_LATENT and odd):
        report.warn(sampler, "The latent comes at half size: between stage one and this node belongs LTX Latent "
                    "Upsampler, else the video has half of the size that was asked for.")  # fmt: skip
    if len(upsamplers) > 1:
        report.warn(sampler, "The latent is upsampled twice: the video becomes twice as large as was asked for. "
                    "Use one LTX Latent Upsampler.")  # fmt: skip
    if first is None:
        return
    if _has_images(graph, first) != _has_images(graph, sampler):
        report.warn(sampler, "Only one of the two samplers has image conditions: the image is lost in the other stage. "
                    "Connect the same conditions to both.")  # fmt: skip
    if given_sounds(graph, sampler) and not given_sounds(graph, first):
        report.warn(sampler, "Only stage two is given the sound: stage one makes the picture to another one, and stage "
                    "two changes little of it. Connect the same conditions to both samplers.")  # fmt: skip
    devices = first.value("noise_device", str), sampler.value("noise_device", str)
    continues = sampler.value("noise", str) == CONTINUE
    if has_gpu and continues and None not in devices and devices[0] != devices[1]:
        report.error(sampler, f"Stage one draws its noise on '{devices[0]}', this stage would continue on "
                     f"'{devices[1]}'. Set the same noise_device in both, or noise to 'new seed'.",
                     input="noise_device")  # fmt: skip


def _has_images(graph: PromptGraph, sampler: Node) -> bool:
    """A sound or a film in the chain does not count: from stage one both come with the latent; nor do references, which
    stage two may do without.  What is not known is an image."""
    kinds = [node.type for node in graph.chain(sampler, "conditions")]
    return sampler.has("conditions") and (not kinds or bool(set(kinds) - _NO_IMAGES))


def _check_distilled_weights(sampler: Node, loaders: list[Node], files: Files, report: Report) -> None:
    """The few steps of stage two are made for distilled weights, once."""
    model = next((node for node in loaders if node.type == MODEL_LOADER), None)
    kind = model_kind(model) if model else None
    if kind is None:
        return
    strengths = {lora.id: lora.value("strength_stage_two", (int, float)) for lora in loaders if is_distilled_lora(lora)}
    active = [node for node in loaders if strengths.get(node.id)]
    if kind is Kind.DISTILLED:
        name = model.value("checkpoint", str) or "The model"
        for lora in active:
            report.warn(lora, f"{name} is distilled already: the distilled LoRA on top makes the picture harsh. Take "
                        "the LoRA out, or choose the dev checkpoint. If it is one, set kind of LTX Model Loader to "
                        "'dev'.")  # fmt: skip
    elif not active and None not in strengths.values() and not sampler.has("sigmas"):
        report.warn(sampler, "Stage two's three steps need distilled weights, and no distilled LoRA is on here. "
                    f"Put LTX LoRA Loader with {_distilled_lora(loaders, files)} (0 and 1) before it; if the "
                    "checkpoint is distilled, set kind of LTX Model Loader to 'distilled'.")  # fmt: skip


def _distilled_lora(loaders: list[Node], files: Files) -> str | None:
    """What the publisher calls the one of this model's generation."""
    return variant_of(Kind.DEV, generation_of(model_file(loaders, files))).files.lora
