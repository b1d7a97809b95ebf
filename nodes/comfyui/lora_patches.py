"""LoRAs as ComfyUI's weight patches, which it lays over weights as it brings them to the device."""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from .files import load_file
from .lora_layers import OwnLayer, patches_of
from .memory import PatchedModule
from .pinned import pinned

# Kept as long as the LoRA: strengths may change.
_PINNED: WeakKeyDictionary[LoRA, dict[str, Tensor]] = WeakKeyDictionary()


def patched(component: PatchedModule, acting: Sequence[tuple[LoRA, Sequence[OwnLayer]]]) -> PatchedModule:
    """A clone with ComfyUI's patches for these layers."""
    clone = component.clone()
    for lora, own in acting:
        lay_patches(clone.patcher, lora, own, component.device)
    return clone


def lay_patches(patcher, lora: LoRA, own: Sequence[OwnLayer], device: torch.device) -> None:
    """Adds patches for these layers to a ModelPatcher that computes on `device`."""
    tensors = _tensors(lora, device)
    for strength in dict.fromkeys(layer.strength for layer in own):
        patches = _patches([layer for layer in own if layer.strength == strength], tensors)
        applied = patcher.add_patches(patches, strength)
        if missing := sorted(set(patches) - set(applied)):
            raise LTXError(
                f"Of the {len(patches)} weights that {lora.path} changes only {len(applied)} were taken, not "
                f"{missing[:3]}. Use a LoRA made for this model."
            )


def _tensors(lora: LoRA, device: torch.device) -> Mapping[str, Tensor]:
    tensors = _PINNED.get(lora)
    if tensors is None:
        tensors = pinned(lora.parts(), lora.size, device)
        if tensors is None:
            return load_file(lora.file)
        _PINNED[lora] = tensors
    return tensors


def _patches(own: Sequence[OwnLayer], tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """ComfyUI's patches by parameter name."""
    patches = {}
    for layer in own:
        patches |= patches_of(layer, {part: tensors[key] for part, key in layer.change.parts.items()})
    return patches
