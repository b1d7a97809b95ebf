"""Images lie inside the video."""

from ...ltx_core.sampling.conditioning import resolve_frame
from ..names import IMAGE_CONDITION
from ..prompt_graph import Node, PromptGraph
from .report import Report


def check_frames(graph: PromptGraph, sampler: Node, sized: Node, report: Report) -> None:
    """Image conditions lie inside the video, whose number of frames the node `sized` asks for."""
    frames = sized.value("frames", int)
    for condition in graph.chain(sampler, "conditions"):
        frame = condition.value("frame", int)
        if condition.type == IMAGE_CONDITION and frames is not None and frames > 0 and frame is not None:
            report.attempt(condition, resolve_frame, frame, frames, input="frame")
