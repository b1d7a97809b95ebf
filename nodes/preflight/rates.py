"""One frame rate from the sampler to the film."""

from collections.abc import Mapping

from ..names import STAGE_ONE_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .report import Report

CREATE_VIDEO = "CreateVideo"


def check_fps(graph: PromptGraph, node: Node, report: Report) -> None:
    """Core's Create Video asks for the frame rate again."""
    fps = node.value("fps", (int, float))
    asked: Mapping[str, float] = {
        sampler.id: rate
        for sampler in graph.ancestors(node)
        if sampler.type == STAGE_ONE_SAMPLER and (rate := sampler.value("fps", (int, float))) is not None
    }
    if fps is not None and len(asked) == 1 and (rate := next(iter(asked.values()))) != fps:
        report.warn(node, f"The video is made for {rate:g} frames a second, but this node plays it at {fps:g}: picture "
                    f"and sound drift apart. Set fps to {rate:g}.")  # fmt: skip
