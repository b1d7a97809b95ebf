"""Files that can be opened, but look like downloads that are not finished."""

from ...ltx_core.unfinished import signs
from ..names import LORA_LOADER, MODEL_LOADER, PROMPT_LENGTH, TEXT_ENCODER_LOADER, UPSAMPLER_LOADER, VAE_LOADER
from ..prompt_graph import PromptGraph
from .report import Files, Report

OPENING = MODEL_LOADER, LORA_LOADER, VAE_LOADER, TEXT_ENCODER_LOADER, UPSAMPLER_LOADER, PROMPT_LENGTH


def check_downloads(graph: PromptGraph, files: Files, report: Report) -> None:
    """Tells, and does not refuse: a mark may be left from an earlier try, and file systems count holes differently."""
    for loader in graph.of_type(*OPENING):
        for path in files.paths(loader):
            if sign := signs(path):
                report.warn(loader, f"{path.name} may be a download that is not finished: {sign}. Wait for it, or "
                            "download the file again. If it is complete, remove what is left of an earlier "
                            "try.")  # fmt: skip
