"""Float8 weights in plain PyTorch: half the memory of bfloat16, and twice the speed where the GPU multiplies them."""

import torch
from torch import Tensor, nn

from ..kernels.fp8 import (
    Fp8Rows,
    expanded_linear,
    fp8_linear,
    fp8_matmul_works,
    quantize_weight,
    sides_fit,
    takes_rows,
)


class Fp8Linear(nn.Module):
    """A linear layer whose weight is float8 (e4m3) times one number.

    On GPUs with float8 units its input is quantised too, a scale for each row; elsewhere the weight is expanded.
    """

    def __init__(self, weight: Tensor, weight_scale: float, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.weight_scale = weight_scale
        self._scales: Tensor | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> "Fp8Linear":
        return cls(*quantize_weight(linear.weight.detach()), linear.bias)

    def takes_fp8_rows(self, x: Tensor) -> bool:
        return fp8_matmul_works(x.device)

    def forward(self, x: Tensor | Fp8Rows) -> Tensor:
        if isinstance(x, Fp8Rows) or takes_rows(self, x):
            return fp8_linear(x, self.weight, self.scales(self.weight.device), self.bias)
        return expanded_linear(x, self.weight, self.weight_scale, self.bias)

    def scales(self, device: torch.device) -> Tensor:
        """The scale of every output, (1, N) float32, as the GPU's float8 product takes it."""
        if self._scales is None or self._scales.device != device:
            self._scales = torch.full((1, self.weight.shape[0]), self.weight_scale, device=device)
        return self._scales


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
    return not layer.endswith("to_gate_logits") and sides_fit(weight)
