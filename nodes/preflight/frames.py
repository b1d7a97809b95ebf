"""Images lie inside the video, each on its own frame."""

from ...ltx_core.errors import LTXError
from ...ltx_core.sampling.conditions.fitting import resolve_frames
from ..names import IMAGE_CONDITION
from ..prompt_graph import Node, PromptGraph
from .report import Report


def check_frames(graph: PromptGraph, sampler: Node, frames: int | None, report: Report) -> None:
    """Image conditions lie inside the video of `frames` frames, no two on one; None is a number not known yet."""
    if frames is not None and frames < 1:
        return  # the sampler says so itself
    placed: list[int] = []
    for condition in reversed(list(graph.chain(sampler, "conditions"))):
        frame = condition.value("frame", int)
        if condition.type != IMAGE_CONDITION or frame is None:
            continue
        try:
            resolve_frames([*placed, frame], frames)
        except LTXError as error:
            report.error(condition, str(error), input="frame")
        else:
            placed.append(frame)
