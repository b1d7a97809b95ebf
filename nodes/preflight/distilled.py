"""Which loaders bring distilled weights."""

from ...ltx_core.variants import Kind, kind_of_name
from ..names import AUTO_KIND, CORE_MODEL_LOADERS, LORA_LOADER
from ..prompt_graph import Node

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
