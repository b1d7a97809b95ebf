"""Which layers of a LoRA belong to a component, and what ComfyUI's own adapters make of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import comfy.lora
import torch
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor, nn

from ...ltx_core import lora_keys as keys
from ...ltx_core.lora import LoRA, LoraLayer, Strengths
from ...ltx_core.lora.names import CONNECTORS
from .memory import PatchedModule

# Where the engine's modules keep the layers whose official names begin like this.
_MODULES = dict(zip((*CONNECTORS, ""), ("video_connector", "audio_connector", "transformer"), strict=True))


@dataclass(frozen=True)
class OwnLayer:
    """A layer that a LoRA changes: its path below a patcher's model, how, times what scale, at which strength.

    `unit`: what the stored weight is multiplied with, in a float8 layer.  A LoRA's change is of the product.
    """

    path: str
    change: LoraLayer
    scale: float
    strength: float
    unit: float

    @property
    def weight(self) -> str:
        """The parameter's name in ComfyUI's patches."""
        return f"{self.path}.weight"

    @property
    def bias(self) -> str:
        return f"{self.path}.bias"


def places(component: PatchedModule) -> dict[str, str]:
    """Paths below the patcher's model by how official names of layers begin, of what the component holds."""
    return {start: f"engine.{name}." for start, name in _MODULES.items() if hasattr(component.module, name)}


def layers_below(model: nn.Module, roots: Mapping[str, str], lora: LoRA, strengths: Strengths) -> list[OwnLayer]:
    """The layers of a fitted LoRA that `model` has, without those at strength 0.

    `roots`: paths below the model by how official names begin, one of `names.CONNECTORS` or "" for all others.
    """
    scales, found = lora.scales(), []
    for name, change in lora.layers.items():
        start = next((connector for connector in CONNECTORS if name.startswith(connector)), "")
        if (strength := strengths.of(name)) != 0 and start in roots:
            path = roots[start] + name.removeprefix(start)
            found.append(OwnLayer(path, change, scales[name], strength, unit_of(model.get_submodule(path))))
    return found


def unit_of(layer: nn.Module) -> float:
    """What a float8 layer multiplies its stored weight with; ComfyUI's quantised weights are patched expanded."""
    unit = getattr(layer, "weight_scale", 1.0)
    return unit if isinstance(unit, float) else 1.0


def patches_of(own: OwnLayer, parts: Mapping[str, Tensor]) -> dict[str, object]:
    """ComfyUI's patches by parameter, of the layer's tensors by the names of their parts."""
    name, change = own.path, own.change
    named = {f"{name}.{part}": parts[part] for part in change.parts if part not in (keys.ALPHA, *keys.BIASES)}
    if (dora := f"{name}.{keys.DORA}") in named and named[dora].ndim == 1:
        named[dora] = named[dora].unsqueeze(1)  # PEFT's: one for each output
    # What is linear in its alpha takes the unit there, as it always did; all others are computed in real numbers.
    linear = change.is_pair
    scale = own.scale / own.unit if linear else own.scale
    if change.rank and scale != 1:
        named[f"{name}.{keys.ALPHA}"] = torch.tensor(scale * change.rank, dtype=torch.float64)
    patches = comfy.lora.load_lora(named, {name: own.weight})
    if own.unit != 1 and not linear and own.weight in patches:
        patches[own.weight] = InRealNumbers(set(), (patches[own.weight], own.unit))
    if change.bias is not None:
        patches[own.bias] = ("diff", (bias_difference(own, parts),))
    return patches


def bias_difference(own: OwnLayer, parts: Mapping[str, Tensor]) -> Tensor:
    """What the layer's bias grows by at strength 1, in float32."""
    scales = {keys.BIAS_DIFFERENCE: 1.0, keys.UP_BIAS: own.scale}
    return sum(parts[part].float() * scale for part, scale in scales.items() if part in own.change.parts)


class InRealNumbers(WeightAdapterBase):
    """Another patch, applied to a weight times its unit: `weights` are the patch and the unit.

    ComfyUI copies adapters to the device by building them anew from `loaded_keys` and `weights`.
    """

    name = "in real numbers"

    def __init__(self, loaded_keys: set[str], weights: tuple):
        self.loaded_keys, self.weights = loaded_keys, weights

    def calculate_weight(self, weight, key, strength, strength_model, offset, function, *more, **named):
        patch, unit = self.weights
        real = weight.to(torch.float32) * unit
        changed = comfy.lora.calculate_weight([(strength, patch, strength_model, offset, function)], real, key)
        return weight.copy_(changed / unit)
