"""LoRAs that fit by their sizes, but are made for something else."""

from ...ltx_core.generation import Generation
from ..names import LORA_LOADER, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .references import may_read
from .report import Files, Report

# One transformer in two trainings.
KIN = {Generation.V2_3, Generation.V2_5}
SAMPLERS = STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER


def check_loras(graph: PromptGraph, files: Files, report: Report) -> None:
    """An IC-LoRA needs a reference video, and a LoRA belongs to one generation of the model.

    What a reference needs of the LoRAs: see `references`.
    """
    for loader in graph.of_type(LORA_LOADER):
        _check(graph, loader, files, report)


def _has_reference(graph: PromptGraph, loader: Node) -> bool:
    """Whether any stage with this LoRA reads a reference, or may do so; so it is where nobody samples with it."""
    stages = [own for own in graph.of_type(*SAMPLERS) if loader in graph.chain(own, "model")]
    return not stages or any(may_read(graph, stage) for stage in stages)


def _check(graph: PromptGraph, loader: Node, files: Files, report: Report) -> None:
    lora = files.lora(loader)
    if lora is None:
        return
    if lora.reference is not None and not _has_reference(graph, loader):
        report.warn(loader, f"This is taken for an IC-LoRA because {lora.reference}: it is trained to read a reference "
                    "video, and none is given. Put LTX Reference Video into the conditions of LTX Stage One Sampler, "
                    "or choose an ordinary LoRA.")  # fmt: skip
    model = model_file(list(graph.chain(loader, "model")), files)
    if model is None or model.generation is None or lora.made_for is None:
        return
    generation, evidence = lora.made_for
    if generation is not model.generation:
        to_do = f"Choose a LoRA for {model.generation}."
        if {generation, model.generation} == KIN:
            to_do = f"Most do their work all the same, as users report: look at the film. {to_do[:-1]} if it does not."
        report.warn(loader, f"This LoRA is for {generation} ({evidence}), but {model.path.name} is of "
                    f"{model.generation}. Its layers have the same sizes, so it runs, but it was trained on other "
                    f"weights. {to_do}")  # fmt: skip
