"""ComfyUI's layers with what the engine's kernels fuse: GELU in a product's epilogue, float8 products, biases apart."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import comfy.ops
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ltx_core.kernels import fp8
from ...ltx_core.kernels.fp8 import Fp8Rows
from ...ltx_core.kernels.fp8_linear import Fp8Product, converts
from ...ltx_core.kernels.linear import linear_gelu
from . import compat

# Given a layer's weight in the dtype to compute in, returns the one to compute with.  It may tell by `fixed_tensors`
# what it does that with, as a layer does by `fixed_weights`.
WeightFunction = Callable[[Tensor], Tensor]
# What stands behind a layer's name where its bias is meant.
BIAS = ".bias"


@cache
def with_products(ops: type) -> type:
    """`ops` (ComfyUI's layers, casting or not) with these linear layers and convolutions."""

    class Operations(ops):
        class Linear(_Products, ops.Linear):
            pass

        class Conv3d(_BiasApart, ops.Conv3d):
            pass

    return Operations


class HoldsWeights:
    """A layer that computes with `held`, weight and bias on the device before its functions, while that is given."""

    held: tuple[Tensor, Tensor | None] | None = None


class _Products(HoldsWeights, Fp8Product):
    """Mixed into ComfyUI's Linear: what the engine's `layer_protocols` offer, and the float8 product.

    ComfyUI loads, streams and patches the weight as it is stored: LoRAs are laid over it in units of `weight_scale`.
    """

    def takes_fp8_rows(self, x: Tensor) -> bool:
        return self.weight.dtype == fp8.DTYPE and not self._patched() and fp8.fp8_matmul_works(x.device)

    def fixed_weights(self) -> tuple[Tensor, ...] | None:
        """Its weight and bias, and what their functions use, if it computes with them where they lie.

        Dynamic VRAM (`_v`) moves weights about, and ComfyUI's way to layers with functions does so too.
        """
        if self.held is None and (self._patched() or hasattr(self, "_v")):
            return None
        used = [fixed_tensors(function) for function in (*self.weight_function, *self.bias_function)]
        if None in used:
            return None
        own = [tensor for tensor in self.held or (self.weight, self.bias) if tensor is not None]
        return *own, *(tensor for tensors in used for tensor in tensors)

    def forward_gelu(self, x: Tensor) -> Tensor:
        """gelu(self(x)), tanh form."""
        if self.weight.dtype.itemsize == 1 or not x.is_cuda:
            return F.gelu(self(x), approximate="tanh")
        if not (self.comfy_cast_weights or self._patched()):
            return linear_gelu(x, self.weight, self.bias)
        with cast(self, x, x.dtype) as (weight, bias):
            return linear_gelu(x, weight, bias)

    def forward_comfy_cast_weights(self, x: Tensor | Fp8Rows) -> Tensor:
        if self.weight.dtype.itemsize == 1:
            return self.product(x)
        if self.held is None:
            return super().forward_comfy_cast_weights(x)
        with cast(self, x, x.dtype) as (weight, bias):
            return F.linear(x, weight, bias)

    def ready_weight(
        self, like: Tensor, dtype: torch.dtype, bias_dtype: torch.dtype
    ) -> AbstractContextManager[tuple[Tensor, Tensor | None]]:
        return cast(self, like, dtype, bias_dtype)

    def _patched(self) -> bool:
        return bool(self.weight_function or self.bias_function)


class _BiasApart:
    """Mixed into ComfyUI's Conv3d (`LeavesBias`): its bias can be left to the layer that reads the result."""

    def forward_apart(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The convolution of x without the bias, and the bias."""
        if not (self.comfy_cast_weights or self.weight_function or self.bias_function):
            return self._conv_forward(x, self.weight, None), self.bias
        with cast(self, x, x.dtype) as (weight, bias):
            # Cast weights lie in a buffer that the next layer writes over.
            return self._conv_forward(x, weight, None), None if bias is None else bias.clone()


@contextmanager
def cast(layer: nn.Module, like: Tensor, dtype: torch.dtype, bias_dtype: torch.dtype | None = None) -> Iterator[tuple]:
    """The layer's weight and bias where `like` is, streamed and patched by ComfyUI, for the time inside."""
    held = getattr(layer, "held", None)
    if held is not None:
        weight, bias = held
        weight = _through(layer.weight_function, weight.to(dtype))
        yield weight, None if bias is None else _through(layer.bias_function, bias.to(bias_dtype or dtype))
        return
    weight, bias, stream = compat.cast_bias_weight(layer, like, dtype, bias_dtype or dtype)
    try:
        yield weight, bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)


def _through(functions: Iterable[WeightFunction], tensor: Tensor) -> Tensor:
    for function in functions:
        tensor = function(tensor)
    return tensor


def fixed_tensors(function: WeightFunction) -> tuple[Tensor, ...] | None:
    """What a function computes with, where that lies and will lie; None where it does not tell."""
    tells = getattr(function, "fixed_tensors", None)
    return None if tells is None else tells()


def lay_functions(root: nn.Module, functions: Mapping[str, WeightFunction]) -> None:
    """From now on the weights of these layers, by name below `root`, go through their functions at each use.

    A name with BIAS behind it is the layer's bias.  Functions of an earlier call are taken off; ComfyUI's own stay.
    Layers that expand their weight have a place for its functions of their own: `expanded_functions`.
    """
    for name, function in root.__dict__.pop("_laid", {}).items():
        layer, place = _place(root, name)
        setattr(layer, place, [other for other in getattr(layer, place) if other is not function])
    for name, function in functions.items():
        layer, place = _place(root, name)
        setattr(layer, place, [*getattr(layer, place), function])
    root.__dict__["_laid"] = dict(functions)


def _place(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """A layer, and the attribute that holds the functions of its weight or bias."""
    layer = root.get_submodule(name.removesuffix(BIAS))
    if name.endswith(BIAS):
        return layer, "bias_function"
    return layer, "weight_function" if getattr(layer, "block_type", None) is None else "expanded_functions"


def to_fp8(state_dict: Mapping[str, Tensor], device: torch.device) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights with the matrices of transformer blocks in float8, and their scales by layer; the rest stays.

    What is float8 already keeps its numbers.  The arithmetic runs on `device`, layer by layer.
    """
    weights, scales = {}, {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        matrix = last == "weight" and tensor.ndim == 2 and tensor.dtype.itemsize > 1
        if matrix and "transformer_blocks." in name and converts(layer, tensor):
            quantised, scales[layer] = fp8.quantize_weight(tensor.to(device))
            tensor = quantised.to(tensor.device)
        weights[name] = tensor
    return weights, scales


def set_scales(module: nn.Module, scales: Mapping[str, float], device: torch.device) -> None:
    """Tells the float8 layers of `module`, by name, what their weights are to be multiplied with, on `device`.

    ComfyUI counts what is allocated, not what the driver's pool keeps: see `rows_of_scales`.
    """
    for name, scale in scales.items():
        module.get_submodule(name).weight_scale = scale
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, _Products) and layer.weight.dtype == fp8.DTYPE and fp8.sides_fit(layer.weight)
    ]
    if layers and fp8.fp8_matmul_works(device):
        rows = fp8.rows_of_scales([(layer.weight.shape[0], layer.weight_scale) for layer in layers], device)
        for layer, row in zip(layers, rows, strict=True):
            layer._scales = row
