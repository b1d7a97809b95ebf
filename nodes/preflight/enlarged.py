"""What LTX Latent Upsampler enlarges: a latent of half the size, once."""

from ..names import FULL, LATENT_UPSAMPLER, STAGE_ONE_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .latents import latent_chain, size_of
from .report import Report


def check_enlarged(graph: PromptGraph, upsampler: Node, report: Report) -> None:
    """Stage one's own result, at full size already, is enlarged beyond what was asked for."""
    for node in latent_chain(graph, upsampler):
        if node.type == LATENT_UPSAMPLER:
            return  # that one is told
        if node.type == STAGE_ONE_SAMPLER:
            if size_of(node) == FULL:
                report.warn(upsampler, "LTX Stage One Sampler works at full size here: enlarged, the video becomes "
                            "twice as wide and high as was asked for. Set its size to 'half', or decode its result "
                            "without this node.")  # fmt: skip
            return
