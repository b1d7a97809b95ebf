"""Triton: rows to float8 with a scale each, after GELU if asked for."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch

DTYPE = torch.float8_e4m3fn


@triton.jit
def store_rows(values, columns, mask, row, width, target, scales):
    """Stores one row (float32) as float8 and its scale."""
    scale = tl.maximum(tl.max(tl.abs(values), axis=0), 1e-12) / 448.0
    tl.store(scales + row, scale)
    tl.store(target + row * width + columns, (values / scale).to(target.dtype.element_ty), mask=mask)


@triton.jit
def _quantize_rows(x, target, scales, width, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    values = tl.load(x + row * width + columns, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        # tanh(u) = 2 sigmoid(2u) - 1
        inner = 0.7978845608028654 * (values + 0.044715 * values * values * values)
        values = values * tl.sigmoid(2 * inner)
    store_rows(values, columns, mask, row, width, target, scales)


def empty_rows(rows: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Room for float8 rows: values (rows, width) and scales (rows, 1)."""
    values = torch.empty(rows, width, dtype=DTYPE, device=device)
    return values, torch.empty(rows, 1, dtype=torch.float32, device=device)


def quantize_rows(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    """See `ltx_core.kernels.fp8`: x (..., K) contiguous -> float8 values (N, K) and scales (N, 1)."""
    width = x.shape[-1]
    values, scales = empty_rows(x.numel() // width, width, x.device)
    block = triton.next_power_of_2(width)
    launch(
        _quantize_rows,
        (len(values),),
        x,
        values,
        scales,
        width,
        GELU=gelu,
        BLOCK=block,
        num_warps=16 if block > 8192 else 8,
    )
    return values, scales
