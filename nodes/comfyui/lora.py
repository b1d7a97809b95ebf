"""LoRAs under ComfyUI's memory manager.

With dynamic VRAM they are ComfyUI's weight patches, which it lays over weights as it brings them to the device.
Without it, laying patches over would move the whole model between host and device at each change of stage: there the
weights stay as they are, a LoRA's factors are a model of their own beside them, and each layer changes its weight when
it is used.  So it is for weights in GGUF's blocks in either case: patches would be laid over bytes; and for a stage of
few steps (see `stage_loras`).
"""

from collections.abc import Sequence

from ...ltx_core.lora import LoRA, Strengths
from .lora_factors import beside, takes_functions
from .lora_layers import OwnLayer, layers_below, places
from .lora_patches import patched
from .memory import PatchedModule

Acting = list[tuple[LoRA, list[OwnLayer]]]


def with_loras(component: PatchedModule, loras: Sequence[tuple[LoRA, Strengths]]) -> PatchedModule:
    """A component that computes with the LoRAs at these strengths; the weights are shared with the given one.

    Of each LoRA the layers act that the component has: those of the transformer or of the connectors.
    """
    as_patches = component.is_dynamic() and not component.in_blocks
    return with_patches(component, loras) if as_patches else with_factors(component, loras)


def with_patches(component: PatchedModule, loras: Sequence[tuple[LoRA, Strengths]]) -> PatchedModule:
    """A clone with ComfyUI's patches."""
    acting = _acting(component, loras)
    return patched(component, acting) if acting else component


def with_factors(component: PatchedModule, loras: Sequence[tuple[LoRA, Strengths]]) -> PatchedModule:
    """The same patcher, with functions on its layers and the factors beside it.

    Norms look at no functions: where a LoRA changes some, a clone has ComfyUI's patches for them.
    """
    acting = _acting(component, loras)
    norms = _only(acting, lambda layer: not takes_functions(component, layer))
    if norms:
        component = patched(component, norms)
    return beside(component, _only(acting, lambda layer: takes_functions(component, layer)))


def _acting(component: PatchedModule, loras: Sequence[tuple[LoRA, Strengths]]) -> Acting:
    """The LoRAs with those of their layers that the component has, where there are any."""
    model, roots = component.patcher.model, places(component)
    found = [(lora, layers_below(model, roots, lora, strengths)) for lora, strengths in loras]
    return [(lora, own) for lora, own in found if own]


def _only(acting: Acting, chosen) -> Acting:
    found = [(lora, [layer for layer in own if chosen(layer)]) for lora, own in acting]
    return [(lora, own) for lora, own in found if own]
