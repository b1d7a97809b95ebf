"""Triton: gated residual, RMS norm and modulation in one pass over a stream."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .fp8 import keep_rows
from .triton_fp8 import empty_rows, store_rows


@triton.jit
def _row(values, index, stride, token, columns, mask, INDEXED: tl.constexpr):
    """The modulation vector of one token, float32."""
    number = tl.load(index + token) if INDEXED else 0
    return tl.load(values + number * stride + columns, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _residual_norm(
    x, update, out,
    gate, gate_index, gate_stride,
    shift_a, scale_a, shift_b, scale_b, norm_index, norm_stride,
    normed_a, normed_b, values_a, values_b, scales_a, scales_b,
    width, gate_tokens, norm_tokens, eps,
    HAS_UPDATE: tl.constexpr, HAS_GATE: tl.constexpr, GATE_INDEXED: tl.constexpr,
    NORMS: tl.constexpr, MODULATED: tl.constexpr, NORM_INDEXED: tl.constexpr,
    FP8_ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    place = token * width + columns
    values = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    if HAS_UPDATE:
        added = tl.load(update + place, mask=mask, other=0.0).to(tl.float32)
        if HAS_GATE:
            added *= _row(gate, gate_index, gate_stride, token % gate_tokens, columns, mask, GATE_INDEXED)
        # The norm sees what the stream keeps: the sum, rounded to the stream's dtype.
        values = (values + added).to(out.dtype.element_ty)
        tl.store(out + place, values, mask=mask)
        values = values.to(tl.float32)
    if NORMS > 0:
        normed = values * tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
        for number in tl.static_range(NORMS):
            result = normed
            if MODULATED:
                scale = scale_a if number == 0 else scale_b
                shift = shift_a if number == 0 else shift_b
                own = token % norm_tokens
                result = normed * (1 + _row(scale, norm_index, norm_stride, own, columns, mask, NORM_INDEXED))
                result += _row(shift, norm_index, norm_stride, own, columns, mask, NORM_INDEXED)
            target = normed_a if number == 0 else normed_b
            result = result.to(target.dtype.element_ty)
            tl.store(target + place, result, mask=mask)
            if FP8_ROWS:
                rows = values_a if number == 0 else values_b
                scales = scales_a if number == 0 else scales_b
                store_rows(result.to(tl.float32), columns, mask, token, width, rows, scales)


def residual_norm(
    x: Tensor, update: Tensor | None, gate, norms, eps: float, fp8_rows: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """See `ltx_core.kernels.norm`.  x (R, T, D) contiguous takes the sum in place; at most two norms."""
    width = x.shape[-1]
    tokens = x.numel() // width
    update = None if update is None else update.contiguous()
    outputs = tuple(torch.empty_like(x) for _ in norms)
    quantized = [empty_rows(tokens, width, x.device) for _ in norms] if fp8_rows else []
    modulated = bool(norms) and norms[0][0] is not None
    rows = [row for pair in norms for row in pair] if modulated else []
    values = [row.values for row in rows] + [x] * (4 - len(rows))
    norm_index = rows[0].index if modulated else None
    gate_index = None if gate is None else gate.index
    _residual_norm[(tokens,)](
        x, x if update is None else update, x,
        x if gate is None else gate.values, x if gate_index is None else gate_index,
        0 if gate is None else gate.values.stride(0),
        *values, x if norm_index is None else norm_index, rows[0].values.stride(0) if modulated else 0,
        *_padded(outputs, x), *_padded([own[0] for own in quantized], x), *_padded([own[1] for own in quantized], x),
        width, 1 if gate_index is None else gate_index.numel(), 1 if norm_index is None else norm_index.numel(), eps,
        HAS_UPDATE=update is not None, HAS_GATE=gate is not None, GATE_INDEXED=gate_index is not None,
        NORMS=len(norms), MODULATED=modulated, NORM_INDEXED=norm_index is not None,
        FP8_ROWS=fp8_rows, BLOCK=triton.next_power_of_2(width), num_warps=8 if len(norms) == 2 else 4,
    )  # fmt: skip
    for output, own in zip(outputs, quantized, strict=False):
        keep_rows(output, *own)
    return x, outputs


def _padded(tensors, filler: Tensor) -> list[Tensor]:
    """Two kernel arguments, whether they are used or not."""
    return [*tensors, filler, filler][:2]
