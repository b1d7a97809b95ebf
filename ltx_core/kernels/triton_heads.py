"""Triton: what surrounds attention - query/key norm with rotation before it, gates after it."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .triton_fp8 import empty_rows, store_rows


@triton.jit(do_not_specialize=["rows", "rows_each", "tokens", "frequencies", "padding"])
def _norm_rotate(
    x, weight, cos, sin, index, out,
    rows, rows_each, tokens, width, half, frequencies, padding, eps,
    AXES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One token of `rows_each` rows, both halves of all heads; its angles and the weights are read once.

    Pair j is channel j % half of head j // half; AXES 0 rotates nothing.
    """
    token = tl.program_id(0)
    pairs = tl.arange(0, BLOCK)
    mask = pairs < width // 2
    first_place = pairs // half * 2 * half + pairs % half
    second_place = first_place + half
    first_weight = tl.load(weight + first_place, mask=mask, other=0.0).to(tl.float32)
    second_weight = tl.load(weight + second_place, mask=mask, other=0.0).to(tl.float32)
    if AXES > 0:
        turned = mask & (pairs >= padding)
        angle = tl.where(turned, pairs - padding, 0)
        position = tl.load(index + token * AXES)
        for axis in tl.static_range(1, AXES):
            position = tl.where(angle % AXES == axis, tl.load(index + token * AXES + axis), position)
        entry = position * frequencies + angle // AXES
        c = tl.load(cos + entry, mask=turned, other=1.0)
        s = tl.load(sin + entry, mask=turned, other=0.0)
    begin = tl.program_id(1) * rows_each
    for row in range(begin, tl.minimum(begin + rows_each, rows)):
        start = ((tl.zeros((), tl.int64) + row) * tokens + token) * width
        first = tl.load(x + start + first_place, mask=mask, other=0.0).to(tl.float32)
        second = tl.load(x + start + second_place, mask=mask, other=0.0).to(tl.float32)
        scale = tl.rsqrt((tl.sum(first * first, axis=0) + tl.sum(second * second, axis=0)) / width + eps)
        first *= scale * first_weight
        second *= scale * second_weight
        if AXES > 0:
            rotated = first * c - second * s
            second = second * c + first * s
            first = rotated
        tl.store(out + start + first_place, first.to(out.dtype.element_ty), mask=mask)
        tl.store(out + start + second_place, second.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["first"])
def _gate_heads(x, logits, out, scales, first, width, heads, head_dim, FP8_ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """One token of a part that begins at token `first` of the result."""
    own = tl.program_id(0).to(tl.int64)
    token = own + first
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    gates = 2 * tl.sigmoid(tl.load(logits + token * heads + columns // head_dim, mask=mask, other=0.0).to(tl.float32))
    values = tl.load(x + own * width + columns, mask=mask, other=0.0).to(tl.float32)
    values *= gates
    if FP8_ROWS:
        store_rows(values, columns, mask, token, width, out, scales)
    else:
        tl.store(out + token * width + columns, values.to(out.dtype.element_ty), mask=mask)


def norm_rotate(x: Tensor, weight: Tensor, heads: int, table, eps: float) -> Tensor:
    """See `ltx_core.kernels.heads`: x (R, T, H*D) contiguous -> (R, H, T, D), stored as (R, T, H, D)."""
    rows, tokens, width = x.shape
    out = torch.empty_like(x)
    cos, sin, index = (x, x, x) if table is None else (table.cos, table.sin, table.index)
    rows_each = rows if tokens >= 2048 else 1  # fewer programs would not fill the GPU
    launch(
        _norm_rotate, (tokens, triton.cdiv(rows, rows_each)), x, weight, cos, sin, index, out,
        rows, rows_each, tokens, width, width // heads // 2, cos.shape[1], 0 if table is None else table.padding, eps,
        AXES=0 if table is None else index.shape[1],
        BLOCK=triton.next_power_of_2(width // 2), num_warps=4 if width > 2048 else 2,
    )  # fmt: skip
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)


def gate_heads(parts: Sequence[Tensor], logits: Tensor, fp8_rows: bool) -> Tensor | tuple[Tensor, Tensor]:
    """See `ltx_core.kernels.heads`: parts (r, H, T, D), logits (R, T, H) -> (R, T, H*D) contiguous.

    With `fp8_rows` only its float8 values (R*T, H*D) and scales.
    """
    rows, tokens, heads = logits.shape
    head_dim = parts[0].shape[-1]
    width, dtype = heads * head_dim, parts[0].dtype
    like = torch.empty((rows, tokens, width), dtype=dtype, device=logits.device) if not fp8_rows else logits
    out, scales = empty_rows(rows * tokens, width, logits.device) if fp8_rows else (like.view(-1, width), like)
    logits, first = logits.contiguous().view(-1, heads), 0
    for part in parts:
        part = part.transpose(1, 2).contiguous()
        count = part.shape[0] * tokens
        launch(
            _gate_heads, (count,), part, logits, out, scales, first, width, heads, head_dim,
            FP8_ROWS=fp8_rows, BLOCK=triton.next_power_of_2(width), num_warps=8,
        )  # fmt: skip
        first += count
    return (out, scales) if fp8_rows else like
