"""LoRAs under ComfyUI's memory manager.

With dynamic VRAM they are ComfyUI's weight patches, which it lays over weights as it brings them to the device.
Without it, laying patches over would move the whole model between host and device at each change of stage: there the
weights stay as they are, a LoRA's factors are a model of their own beside them, and each layer changes its weight when
it is used.
"""

from collections.abc import Sequence

from ...ltx_core.lora import LoRA, Strengths
from .lora_factors import takes_functions, with_factors
from .lora_layers import own_layers
from .lora_patches import with_patches
from .memory import PatchedModule

__all__ = ["with_factors", "with_loras", "with_patches"]


def with_loras(component: PatchedModule, loras: Sequence[tuple[LoRA, Strengths]]) -> PatchedModule:
    """A component that computes with the LoRAs at these strengths; the weights are shared with the given one.

    Of each LoRA the layers are laid over that the component has: transformer or connectors.  Where none has any, it is
    the given component.
    """
    acting = [(lora, own) for lora, strengths in loras if (own := own_layers(lora, strengths, component))]
    if not acting:
        return component
    by_functions = not component.is_dynamic() and all(takes_functions(component, own) for _, own in acting)
    return (with_factors if by_functions else with_patches)(component, loras)
