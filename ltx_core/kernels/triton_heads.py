"""Triton: what surrounds attention - query/key norm with rotation before it, gates after it."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .fp8 import Fp8Rows
from .triton_fp8 import empty_rows, store_rows


@triton.jit
def _norm_rotate(
    x, weight, cos, sin, index, out,
    width, half, table_tokens, frequencies, padding, eps,
    AXES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One token: both halves of all heads.  Pair j is channel j % half of head j // half; AXES 0 rotates nothing."""
    token = tl.program_id(0).to(tl.int64)
    pairs = tl.arange(0, BLOCK)
    mask = pairs < width // 2
    head, channel = pairs // half, pairs % half
    first_place = head * 2 * half + channel
    second_place = first_place + half
    first = tl.load(x + token * width + first_place, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x + token * width + second_place, mask=mask, other=0.0).to(tl.float32)
    scale = tl.rsqrt((tl.sum(first * first, axis=0) + tl.sum(second * second, axis=0)) / width + eps)
    first *= scale * tl.load(weight + first_place, mask=mask, other=0.0).to(tl.float32)
    second *= scale * tl.load(weight + second_place, mask=mask, other=0.0).to(tl.float32)
    if AXES > 0:
        turned = mask & (pairs >= padding)
        angle = tl.where(turned, pairs - padding, 0)
        position = tl.load(index + (token % table_tokens) * AXES + angle % AXES, mask=turned, other=0)
        place = position * frequencies + angle // AXES
        c = tl.load(cos + place, mask=turned, other=1.0)
        s = tl.load(sin + place, mask=turned, other=0.0)
        rotated = first * c - second * s
        second = second * c + first * s
        first = rotated
    tl.store(out + token * width + first_place, first.to(out.dtype.element_ty), mask=mask)
    tl.store(out + token * width + second_place, second.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _gate_heads(x, logits, out, scales, width, heads, head_dim, FP8_ROWS: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    gates = 2 * tl.sigmoid(tl.load(logits + token * heads + columns // head_dim, mask=mask, other=0.0).to(tl.float32))
    values = tl.load(x + token * width + columns, mask=mask, other=0.0).to(tl.float32)
    values *= gates
    if FP8_ROWS:
        store_rows(values, columns, mask, token, width, out, scales)
    else:
        tl.store(out + token * width + columns, values.to(out.dtype.element_ty), mask=mask)


def norm_rotate(x: Tensor, weight: Tensor, heads: int, table, eps: float) -> Tensor:
    """See `ltx_core.kernels.heads`: x (R, T, H*D) contiguous -> (R, H, T, D), stored as (R, T, H, D)."""
    width = x.shape[-1]
    out = torch.empty_like(x)
    cos, sin, index = (x, x, x) if table is None else (table.cos, table.sin, table.index)
    _norm_rotate[(x.numel() // width,)](
        x, weight, cos, sin, index, out,
        width, width // heads // 2, index.shape[0], cos.shape[1], 0 if table is None else table.padding, eps,
        AXES=0 if table is None else index.shape[1],
        BLOCK=triton.next_power_of_2(width // 2), num_warps=4 if width > 2048 else 2,
    )  # fmt: skip
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)


def gate_heads(parts: Sequence[Tensor], logits: Tensor, fp8_rows: bool) -> Tensor | Fp8Rows:
    """See `ltx_core.kernels.heads`: parts (r, H, T, D), logits (R, T, H) -> (R, T, H*D) contiguous."""
    rows, tokens, heads = logits.shape
    head_dim = parts[0].shape[-1]
    width, dtype = heads * head_dim, parts[0].dtype
    like = torch.empty((rows, tokens, width), dtype=dtype, device=logits.device) if not fp8_rows else logits
    out, scales = empty_rows(rows * tokens, width, logits.device) if fp8_rows else (like.view(-1, width), like)
    logits, first = logits.contiguous().view(-1, heads), 0
    for part in parts:
        part = part.transpose(1, 2).contiguous()
        count = part.shape[0] * tokens
        _gate_heads[(count,)](
            part, logits[first:], out[first:], scales[first:] if fp8_rows else scales, width, heads, head_dim,
            FP8_ROWS=fp8_rows, BLOCK=triton.next_power_of_2(width), num_warps=8,
        )  # fmt: skip
        first += count
    return Fp8Rows(out, scales, torch.Size((rows, tokens, width)), dtype) if fp8_rows else like
