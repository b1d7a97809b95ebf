"""LoRAs beside a model that stays as it is: each layer changes its weight at each use."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import comfy.lora
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...ltx_core import lora_keys as keys
from ...ltx_core.lora import LoRA
from . import memory
from .files import load_file
from .layers import BIAS, WeightFunction, fixed_tensors
from .lora_layers import OwnLayer, bias_difference, patches_of
from .memory import PatchedModule


def beside(component: PatchedModule, acting: Sequence[tuple[LoRA, Sequence[OwnLayer]]]) -> PatchedModule:
    """The same patcher, with functions on these layers and the factors beside it."""
    functions = {name: Steps([function]) for name, function in component.functions.items()}
    models = list(component.beside)
    for lora, own in acting:
        factors, held = _build_factors(lora, own, component)
        models.append(factors)
        for layer, parts in zip(own, held, strict=True):
            for name, step in _steps(layer, parts):
                functions.setdefault(name, Steps([])).add(step)
    return PatchedModule(component.patcher, component.compute_dtype, functions, tuple(models))


def takes_functions(component: PatchedModule, own: OwnLayer) -> bool:
    """Whether the layer passes its weight through functions."""
    return hasattr(component.patcher.model.get_submodule(own.path), "weight_function")


class Factors(nn.Module):
    """A LoRA's tensors as layers that ComfyUI moves and streams, each flattened to a matrix of this shape."""

    def __init__(self, shapes: Sequence[tuple[int, int]], ops, dtype=None, device=None):
        super().__init__()
        linear = partial(ops.Linear, bias=False, dtype=dtype, device=device)
        self.held = nn.ModuleList(linear(columns, rows) for rows, columns in shapes)


class Held:
    """A tensor of a LoRA, wherever it lies now."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]):
        self.layer, self.shape = layer, shape

    def __call__(self, like: Tensor) -> Tensor:
        """The numbers, where `like` is."""
        return self.layer.weight.view(self.shape).to(like.device)

    @property
    def tensor(self) -> Tensor:
        """Where the numbers lie now."""
        return self.layer.weight


class Steps:
    """What is done to a layer's weight, one after the other."""

    def __init__(self, steps: list[WeightFunction]):
        self.steps = steps

    def add(self, step: WeightFunction) -> None:
        self.steps.append(step)

    def __call__(self, weight: Tensor) -> Tensor:
        for step in self.steps:
            weight = step(weight)
        return weight

    def fixed_tensors(self) -> tuple[Tensor, ...] | None:
        found = [fixed_tensors(step) for step in self.steps]
        return None if None in found else tuple(tensor for own in found for tensor in own)


class AddProduct:
    """weight + scale * B @ A, rounded to the weight's dtype."""

    def __init__(self, down: Held, up: Held, scale: float):
        self.down, self.up, self.scale = down, up, scale

    def __call__(self, weight: Tensor) -> Tensor:
        up, down = (held(weight).flatten(1).to(weight) for held in (self.up, self.down))
        return torch.addmm(weight, up, down, alpha=self.scale)

    def fixed_tensors(self) -> tuple[Tensor, ...]:
        return self.up.tensor, self.down.tensor


class Adapt:
    """What ComfyUI's adapter makes of the weight: in float32, rounded once to the weight's dtype."""

    def __init__(self, own: OwnLayer, parts: Mapping[str, Held]):
        self.own, self.parts = own, parts

    def __call__(self, weight: Tensor) -> Tensor:
        own = self.own
        patch = patches_of(own, {part: held(weight) for part, held in self.parts.items()})[own.weight]
        changed = weight.to(torch.float32, copy=True)  # adapters write in place
        return comfy.lora.calculate_weight([(own.strength, patch, 1.0, None, None)], changed, own.weight).to(weight)


class AddToBias:
    """bias + strength * difference."""

    def __init__(self, own: OwnLayer, parts: Mapping[str, Held]):
        self.own, self.parts = own, parts

    def __call__(self, bias: Tensor) -> Tensor:
        difference = bias_difference(self.own, {part: held(bias) for part, held in self.parts.items()})
        return torch.add(bias, difference.to(bias), alpha=self.own.strength)


def _steps(own: OwnLayer, parts: Mapping[str, Held]) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """(name of the function's place, function) for a layer's weight and bias."""
    steps = []
    if own.change.is_pair:
        scale = own.strength * own.scale / own.unit
        steps.append((own.path, AddProduct(parts[keys.DOWN], parts[keys.UP], scale)))
    elif own.change.shape is not None:
        steps.append((own.path, Adapt(own, parts)))
    if own.change.bias is not None:
        steps.append((own.path + BIAS, AddToBias(own, parts)))
    return steps


def _build_factors(
    lora: LoRA, own: Sequence[OwnLayer], component: PatchedModule
) -> tuple[PatchedModule, list[Mapping[str, Held]]]:
    """The tensors of these layers as a model beside the component, and where each layer finds its parts."""
    tensors = load_file(lora.file)
    kept = [(part, tensors[key]) for layer in own for part, key in layer.change.parts.items() if part != keys.ALPHA]
    flat = [tensor.reshape(tensor.shape[0], -1) for _, tensor in kept]
    factors = memory.build(
        partial(Factors, [tuple(tensor.shape) for tensor in flat]),
        {f"held.{index}.weight": tensor for index, tensor in enumerate(flat)},
        source=lora.path,
        compute_dtype=component.compute_dtype,
        load_device=component.device,
        offload_device=component.patcher.offload_device,
        # Not dynamic: factors that came to the device while a weight does would share ComfyUI's buffer with it.
        patcher_class=comfy.model_patcher.ModelPatcher,
    )
    holders = (Held(layer, tuple(tensor.shape)) for layer, (_, tensor) in zip(factors.module.held, kept, strict=True))
    held = [{part: next(holders) for part in layer.change.parts if part != keys.ALPHA} for layer in own]
    return factors, held
