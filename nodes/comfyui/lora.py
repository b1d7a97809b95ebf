"""LoRAs under ComfyUI's memory manager.

With dynamic VRAM they are ComfyUI's weight patches, which it lays over weights as it brings them to the device.
Without it, laying patches over would move the whole model between host and device at each change of stage: there the
weights stay as they are, a LoRA's factors are a model of their own beside them, and each layer adds their product to
its weight when it is used.  So it is for weights in GGUF's blocks in either case: patches would be laid over bytes.
"""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import comfy.lora
import torch
from torch import Tensor, nn

from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from . import memory
from .files import load_file
from .layers import cast
from .memory import PatchedModule
from .pinned import pinned

ROOT = "engine.transformer."
# Kept as long as the LoRA: strengths may change.
_PINNED: WeakKeyDictionary[LoRA, dict[str, Tensor]] = WeakKeyDictionary()


def with_loras(component: PatchedModule, loras: Sequence[tuple[LoRA, float]]) -> PatchedModule:
    """A component that computes with the LoRAs at these strengths; the weights are shared with the given one."""
    as_patches = component.is_dynamic() and not component.in_blocks
    return with_patches(component, loras) if as_patches else with_factors(component, loras)


def with_factors(component: PatchedModule, loras: Sequence[tuple[LoRA, float]]) -> PatchedModule:
    """The same patcher, with functions on its layers and the factors beside it."""
    factors = tuple(_build_factors(lora, component) for lora, _ in loras)
    functions: dict[str, AddProducts] = {}
    for (lora, strength), own in zip(loras, factors, strict=True):
        alphas = _alphas(lora, component.module.transformer)
        for index, (name, layer) in enumerate(lora.layers.items()):
            function = functions.setdefault(f"{ROOT}{name}", AddProducts())
            function.add(own.module.down[index], own.module.up[index], strength * alphas[name] / layer.rank)
    return PatchedModule(component.patcher, component.compute_dtype, functions, factors)


class Factors(nn.Module):
    """The pairs A and B of a LoRA's layers, in their order, as layers that ComfyUI moves and streams."""

    def __init__(self, lora: LoRA, ops, dtype=None, device=None):
        super().__init__()
        linear = partial(ops.Linear, bias=False, dtype=dtype, device=device)
        self.down = nn.ModuleList(linear(layer.shape[1], layer.rank) for layer in lora.layers.values())
        self.up = nn.ModuleList(linear(layer.rank, layer.shape[0]) for layer in lora.layers.values())


class AddProducts:
    """weight + sum of scale * B @ A, rounded once to the weight's dtype."""

    def __init__(self):
        self.pairs: list[tuple[nn.Module, nn.Module, float]] = []

    def add(self, down: nn.Module, up: nn.Module, scale: float) -> None:
        self.pairs.append((down, up, scale))

    def __call__(self, weight: Tensor) -> Tensor:
        for down, up, scale in self.pairs:
            weight = torch.addmm(weight, _ready(up, weight), _ready(down, weight), alpha=scale)
        return weight


def _ready(factor: nn.Module, weight: Tensor) -> Tensor:
    """A factor in the weight's dtype, on its device; dynamic VRAM brings its layers there as they are used."""
    if not hasattr(factor, "_v"):
        return factor.weight.to(weight)
    with cast(factor, weight, weight.dtype) as (values, _):
        return values.clone()


def _build_factors(lora: LoRA, component: PatchedModule) -> PatchedModule:
    tensors = load_file(lora.file)
    state = {}
    for index, layer in enumerate(lora.layers.values()):
        state |= {f"down.{index}.weight": tensors[layer.down], f"up.{index}.weight": tensors[layer.up]}
    return memory.build(
        partial(Factors, lora),
        state,
        source=lora.path,
        compute_dtype=component.compute_dtype,
        load_device=component.device,
        offload_device=component.patcher.offload_device,
    )


def _alphas(lora: LoRA, transformer: nn.Module) -> dict[str, float]:
    """By layer; a float8 weight is changed as it is stored, in units of its scale."""
    alphas = lora.alphas()
    return {
        name: alphas.get(name, layer.rank) / getattr(transformer.get_submodule(name), "weight_scale", 1.0)
        for name, layer in lora.layers.items()
    }


def with_patches(component: PatchedModule, loras: Sequence[tuple[LoRA, float]]) -> PatchedModule:
    """A clone with ComfyUI's patches."""
    clone = component.clone()
    for lora, strength in loras:
        patches = _patches(lora, component.module.transformer, component.device)
        applied = clone.patcher.add_patches(patches, strength)
        if len(applied) != len(lora.layers):
            missing = sorted(set(patches) - set(applied))
            raise LTXError(
                f"Of the {len(lora.layers)} layers of {lora.path} only {len(applied)} were taken, not {missing[:3]}. "
                "Use a LoRA made for this model."
            )
    return clone


def _patches(lora: LoRA, transformer: nn.Module, device: torch.device) -> dict:
    """ComfyUI's patches by parameter name."""
    tensors = _PINNED.get(lora)
    if tensors is None:
        tensors = pinned(lora.parts(), lora.size, device)
        if tensors is None:
            tensors = load_file(lora.file)
        else:
            _PINNED[lora] = tensors
    alphas = _alphas(lora, transformer)
    named = {}
    for name, layer in lora.layers.items():
        named[f"{name}.lora_A.weight"] = tensors[layer.down]
        named[f"{name}.lora_B.weight"] = tensors[layer.up]
        if alphas[name] != layer.rank:
            named[f"{name}.alpha"] = torch.tensor(alphas[name])
    return comfy.lora.load_lora(named, {name: f"{ROOT}{name}.weight" for name in lora.layers})
