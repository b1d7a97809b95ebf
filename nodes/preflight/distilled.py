"""Which loaders bring distilled weights."""

from ..names import LORA_LOADER
from ..prompt_graph import Node

STRONG = 0.5  # a distilled LoRA at this strength makes the model a distilled one


def is_distilled_lora(node: Node) -> bool:
    return node.type == LORA_LOADER and "distilled" in (node.value("lora", str) or "").lower()
