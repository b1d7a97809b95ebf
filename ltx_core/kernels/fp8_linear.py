"""Float8 weights: half the memory of bfloat16, and twice the speed where the GPU multiplies them."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from . import fp8
from .fp8 import DTYPE, Fp8Rows


class Fp8Product:
    """What a linear layer computes whose weight is float8 (e4m3) times one number, `weight_scale`.

    On GPUs with float8 units its input is quantised too, a scale for each row; elsewhere the weight is expanded.  Where
    the weight comes from is the layer's own: it says so by `ready_weight`.
    """

    weight_scale = 1.0
    _scales: Tensor | None = None

    def ready_weight(
        self, like: Tensor, dtype: torch.dtype, bias_dtype: torch.dtype
    ) -> AbstractContextManager[tuple[Tensor, Tensor | None]]:
        """Weight in `dtype`, where float8 stays, and bias, on the device of `like`; they hold inside."""
        raise NotImplementedError

    def product(self, x: Tensor | Fp8Rows) -> Tensor:
        """x (..., K) times the weight (N, K), plus the bias: (..., N)."""
        if isinstance(x, Tensor) and fp8.takes_rows(self, x):
            x = fp8.quantize_rows(x)
        if isinstance(x, Fp8Rows):
            with self.ready_weight(x.values, DTYPE, x.dtype) as (weight, bias):
                return fp8.fp8_linear(x, weight, self.scales(weight), bias)
        with self.ready_weight(x, x.dtype, x.dtype) as (weight, bias):
            return fp8.expanded_linear(x, weight, self.weight_scale, bias)

    def scales(self, weight: Tensor) -> Tensor:
        """The scale of every output, (1, N) float32 beside `weight`, as the GPU's float8 product takes it."""
        if self._scales is None or self._scales.device != weight.device:
            [self._scales] = fp8.rows_of_scales([(weight.shape[0], self.weight_scale)], weight.device)
        return self._scales


class Fp8Linear(Fp8Product, nn.Module):
    """A linear layer with a float8 weight of its own, in the place of PyTorch's."""

    def __init__(self, weight: Tensor, weight_scale: float, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.weight_scale = weight_scale

    @classmethod
    def of(cls, linear: nn.Linear) -> "Fp8Linear":
        return cls(*fp8.quantize_weight(linear.weight.detach()), linear.bias)

    def takes_fp8_rows(self, x: Tensor) -> bool:
        return fp8.fp8_matmul_works(x.device)

    def fixed_weights(self) -> tuple[Tensor, ...]:
        return tuple(self.parameters(recurse=False))

    def ready_weight(
        self, like: Tensor, dtype: torch.dtype, bias_dtype: torch.dtype
    ) -> AbstractContextManager[tuple[Tensor, Tensor | None]]:
        return nullcontext((self.weight, self.bias))

    forward = Fp8Product.product


def convert_linears(transformer: nn.Module) -> nn.Module:
    """Makes the linear layers inside transformer blocks float8, in place; gates stay, being tiny and sensitive.

    Returns `transformer`.
    """
    for name, module in list(transformer.named_modules()):
        if "transformer_blocks." in name and type(module) is nn.Linear and converts(name, module.weight):
            parent, _, child = name.rpartition(".")
            setattr(transformer.get_submodule(parent), child, Fp8Linear.of(module))
    return transformer


def converts(layer: str, weight: Tensor) -> bool:
    """Whether a block's layer of that name gains from float8."""
    return not layer.endswith("to_gate_logits") and fp8.sides_fit(weight)
