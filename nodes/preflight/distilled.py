"""Which loaders bring distilled weights, and whether a schedule of few steps has them."""

from ...ltx_core.variants import Kind, kind_of_name, variant_of
from ..names import AUTO_KIND, CORE_MODEL_LOADERS, LORA_LOADER, MODEL_LOADER, OF_DISTILLED, RECIPE
from ..prompt_graph import Node, PromptGraph
from .report import Report

STRONG = 0.5  # a distilled LoRA at this strength makes the model a distilled one


def model_kind(loader: Node) -> Kind | None:
    """Dev or distilled, as the model loader's file will be taken; None where that is not known yet."""
    chosen = loader.value("kind", str) if loader.has("kind") else AUTO_KIND
    if chosen in (kind.value for kind in Kind):
        return Kind(chosen)
    name = file_name(loader)
    return kind_of_name(name) if chosen == AUTO_KIND and name is not None else None


def file_name(loader: Node) -> str | None:
    """The file that a model loader names."""
    return loader.value(CORE_MODEL_LOADERS.get(loader.type, "checkpoint"), str)


def is_distilled_lora(node: Node) -> bool:
    return node.type == LORA_LOADER and kind_of_name(node.value("lora", str) or "") is Kind.DISTILLED


def check_schedule(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """Stage one's few steps of distilled models are made for distilled weights."""
    if sampler.value("schedule", str) != OF_DISTILLED or sampler.has("sigmas"):
        return
    loaders = list(graph.chain(sampler, "model"))
    model = next((node for node in loaders if node.type == MODEL_LOADER), None)
    strengths = [node.value("strength_stage_one", (int, float)) for node in loaders if is_distilled_lora(node)]
    if model is None or model_kind(model) is not Kind.DEV or any(own is None or own >= STRONG for own in strengths):
        return
    report.warn(sampler, f"schedule '{OF_DISTILLED}' has 8 steps, which need distilled weights, and here is a dev "
                "model with no distilled LoRA, or little of it. Put LTX LoRA Loader with "
                f"{variant_of(Kind.DEV).files.lora} at strength_stage_one {STRONG} or more before this node, or set "
                f"schedule to '{RECIPE}'.")  # fmt: skip
