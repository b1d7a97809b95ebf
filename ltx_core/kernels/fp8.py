"""Linear layers in float8 (e4m3): each row of the input is scaled to the format's range, the weight as a whole.

The rows are scaled as they are: a token of large activations costs the others no precision.  Products are summed in
float32 by the GPU's float8 units; the result leaves in the input's dtype.
"""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .dispatch import can_fuse
from .layer_protocols import TakesFp8Rows, offers

logger = logging.getLogger("ltx_duo")

DTYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(DTYPE).max
# Both sides of a weight are multiples of this where float8 units multiply it.
SIDES = 16


@dataclass(frozen=True)
class Fp8Rows:
    """Rows of a tensor of `shape` and `dtype` in float8: values (N, K) times scales (N, 1), N all rows together."""

    values: Tensor
    scales: Tensor
    shape: torch.Size
    dtype: torch.dtype

    def first(self, shape: torch.Size) -> "Fp8Rows":
        """Those of a tensor of `shape` that begins where this one does."""
        count = shape[:-1].numel()
        return Fp8Rows(self.values[:count], self.scales[:count], shape, self.dtype)


def quantize_rows(x: Tensor) -> Fp8Rows:
    """The rows of x (..., K) in float8, each with the scale that brings its largest number to the format's largest."""
    if can_fuse(x):
        from .triton_fp8 import quantize_rows as kernel

        return Fp8Rows(*kernel(x.contiguous(), gelu=False), x.shape, x.dtype)
    wide = x.reshape(-1, x.shape[-1]).float()
    scales = wide.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / LARGEST
    return Fp8Rows((wide / scales).clamp(-LARGEST, LARGEST).to(DTYPE), scales, x.shape, x.dtype)


def gelu_rows(x: Tensor) -> Fp8Rows:
    """`quantize_rows` of gelu(x), tanh form, which itself is never stored."""
    if can_fuse(x):
        from .triton_fp8 import quantize_rows as kernel

        return Fp8Rows(*kernel(x.contiguous(), gelu=True), x.shape, x.dtype)
    return quantize_rows(F.gelu(x, approximate="tanh"))


def fp8_linear(x: Tensor | Fp8Rows, weight: Tensor, weight_scales: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K) @ (weight * scale).T + bias on float8 units: weight (N, K) float8, weight_scales (1, N) float32.

    Returns (..., N).  Needs `fp8_matmul_works` on the weight's device, and a weight that `sides_fit`.
    """
    rows = x if isinstance(x, Fp8Rows) else quantize_rows(x)
    try:
        out = torch._scaled_mm(
            rows.values, weight.t(), rows.scales, weight_scales, bias=bias, out_dtype=rows.dtype, use_fast_accum=True
        )
    except RuntimeError as error:
        # For some numbers of rows cuBLAS has no float8 product: 26 rows of 8192 columns on an H100 with CUDA 13.0.
        if "CUBLAS_STATUS_NOT_SUPPORTED" not in str(error):
            raise
        product = expanded_linear(rows, weight, 1.0, None).float() * weight_scales
        return (product if bias is None else product + bias).to(rows.dtype)
    return out.view(*rows.shape[:-1], weight.shape[0])


def expanded_linear(x: Tensor | Fp8Rows, weight: Tensor, weight_scale: float, bias: Tensor | None) -> Tensor:
    """The same product where there are no float8 units, or none are wanted: the weight is expanded to x's dtype."""
    if isinstance(x, Fp8Rows):
        x = (x.values.float() * x.scales).to(x.dtype).view(x.shape)
    flat = x.reshape(-1, x.shape[-1])
    wide = weight.to(x.dtype).t()
    if bias is None:
        product = flat @ wide * weight_scale
    else:
        product = torch.addmm(bias.to(x.dtype), flat, wide, alpha=weight_scale)
    return product.view(*x.shape[:-1], -1)


def quantize_weight(weight: Tensor) -> tuple[Tensor, float]:
    """A weight in float8 and the number to multiply it with.

    One binary order below the format's largest number is left free, which costs nothing in a floating-point format:
    a LoRA may be laid over the weight.
    """
    scale = weight.abs().amax().float().item() * 2 / LARGEST or 1.0
    return (weight.float() / scale).clamp(-LARGEST, LARGEST).to(DTYPE), scale


def rows_of_scales(layers: Sequence[tuple[int, float]], device: torch.device) -> list[Tensor]:
    """For each layer of N outputs (a multiple of `SIDES`) and one scale: the scale of every output, (1, N) float32.

    They lie in one piece of memory.  Made one by one when layers are first used, between activations, they would stay
    in as many places of the driver's memory pool, each of which can keep a larger piece from being used again.
    """
    scales = torch.cat([torch.full((size,), scale, dtype=torch.float32) for size, scale in layers]).to(device)
    return [row[None] for row in scales.split([size for size, _ in layers])]


def sides_fit(weight: Tensor) -> bool:
    """Whether float8 units can multiply a weight (N, K) of this shape."""
    rows, columns = weight.shape
    return rows % SIDES == 0 and columns % SIDES == 0


def takes_rows(linear: torch.nn.Module | None, x: Tensor) -> bool:
    """Whether a linear layer multiplies x in float8, so that whoever makes x may give it float8 rows.

    Where it does not, a float8 weight is expanded.
    """
    return (
        offers(linear, TakesFp8Rows)
        and x.dtype in (torch.bfloat16, torch.float16)
        and linear.takes_fp8_rows(x)
        and sides_fit(linear.weight)
    )


@functools.cache
def fp8_matmul_works(device: torch.device) -> bool:
    """Tries a float8 product with a scale a row once per device: Ada, Hopper and newer GPUs have it."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        return False
    try:
        ones = torch.ones(16, 32, device=device, dtype=torch.bfloat16)
        rows = Fp8Rows(ones.to(DTYPE), torch.ones(16, 1, device=device), ones.shape, ones.dtype)
        scales = torch.full((1, 16), 0.5, device=device)
        return bool((fp8_linear(rows, ones.to(DTYPE), scales, None) == 16).all())
    except (RuntimeError, ValueError) as error:
        logger.warning("LTX Duo: float8 products are off on %s, weights are expanded instead: %s", device, error)
        return False
