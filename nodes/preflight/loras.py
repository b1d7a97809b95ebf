"""LoRAs that fit by their sizes, but are made for something else."""

from ..names import LORA_LOADER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .report import Files, Report


def check_loras(graph: PromptGraph, files: Files, report: Report) -> None:
    """An IC-LoRA needs a reference video, and a LoRA belongs to one generation of the model."""
    for loader in graph.of_type(LORA_LOADER):
        _check(graph, loader, files, report)


def _check(graph: PromptGraph, loader: Node, files: Files, report: Report) -> None:
    lora = files.lora(loader)
    if lora is None:
        return
    if lora.reference is not None:
        report.warn(loader, f"This is taken for an IC-LoRA because {lora.reference}: it is trained to change a "
                    "reference video, which LTX Duo cannot give it yet. It runs as an ordinary LoRA, without what it "
                    "is for. Choose an ordinary LoRA.")  # fmt: skip
    model = model_file(list(graph.chain(loader, "model")), files)
    if model is None or model.generation is None or lora.made_for is None:
        return
    generation, evidence = lora.made_for
    if generation is not model.generation:
        report.warn(loader, f"This LoRA is for {generation} ({evidence}), but {model.path.name} is of "
                    f"{model.generation}. Its layers have the same sizes, so it runs, but it was trained on other "
                    f"weights. Choose a LoRA for {model.generation}.")  # fmt: skip
