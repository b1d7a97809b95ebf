"""LoRAs as ComfyUI's weight patches: laid over loaded weights, or applied layer by layer while streaming."""

from collections.abc import Sequence

import comfy.lora
import comfy.utils
import torch
from torch import nn

from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from .memory import Component

ROOT = "engine.transformer."


def with_loras(component: Component, loras: Sequence[tuple[LoRA, float]]) -> Component:
    """A clone of `component` that computes with the LoRAs at these strengths; the weights are shared with it.

    ComfyUI lays the patches over the weights when the clone is loaded and takes them off when another clone is.
    """
    clone = component.clone()
    for lora, strength in loras:
        patches = _patches(lora, component.module.transformer)
        applied = clone.patcher.add_patches(patches, strength)
        if len(applied) != len(lora.layers):
            missing = sorted(set(patches) - set(applied))
            raise LTXError(
                f"Of the {len(lora.layers)} layers of {lora.path} only {len(applied)} were taken, not {missing[:3]}. "
                "Use a LoRA made for this model."
            )
    return clone


def _patches(lora: LoRA, transformer: nn.Module) -> dict:
    """ComfyUI's patches by parameter name."""
    tensors = comfy.utils.load_torch_file(str(lora.path), safe_load=True)
    named = {}
    for name, layer in lora.layers.items():
        named[f"{name}.lora_A.weight"] = tensors[layer.down]
        named[f"{name}.lora_B.weight"] = tensors[layer.up]
        alpha = layer.rank if layer.alpha is None else tensors[layer.alpha].item()
        # A float8 weight is patched as it is stored, in units of its scale.
        scale = getattr(transformer.get_submodule(name), "weight_scale", 1.0)
        if layer.alpha is not None or scale != 1.0:
            named[f"{name}.alpha"] = torch.tensor(alpha / scale)
    return comfy.lora.load_lora(named, {name: f"{ROOT}{name}.weight" for name in lora.layers})
