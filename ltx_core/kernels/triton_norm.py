"""Triton: gated residual, RMS norm and modulation in one pass over a stream."""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch
from .triton_fp8 import empty_rows, store_rows


@triton.jit
def _row(values, index, stride, token, columns, mask):
    """The modulation vector of one token, float32."""
    return tl.load(values + tl.load(index + token) * stride + columns, mask=mask, other=0.0).to(tl.float32)


# Compiling takes a quarter of a second for every variant: lengths make none.  Strides do: known to be multiples of 16,
# they let vectors be read in wide pieces.
@triton.jit(do_not_specialize=["gate_tokens", "norm_tokens"])
def _residual_norm(
    x, update, out,
    gate, gate_index, gate_stride, gate_tokens,
    shift_a, scale_a, shift_b, scale_b, norm_index, norm_stride, norm_tokens,
    normed_a, normed_b, values_a, values_b, scales_a, scales_b,
    width, eps,
    HAS_UPDATE: tl.constexpr, HAS_GATE: tl.constexpr,
    NORMS: tl.constexpr, NORMALISED: tl.constexpr, MODULATED: tl.constexpr,
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
            added *= _row(gate, gate_index, gate_stride, token % gate_tokens, columns, mask)
        # The norm sees what the stream keeps: the sum, rounded to the stream's dtype.
        values = (values + added).to(out.dtype.element_ty)
        tl.store(out + place, values, mask=mask)
        values = values.to(tl.float32)
    if NORMS > 0:
        normed = values
        if NORMALISED:
            normed = values * tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
        for number in tl.static_range(NORMS):
            result = normed
            if MODULATED:
                scale = scale_a if number == 0 else scale_b
                shift = shift_a if number == 0 else shift_b
                own = token % norm_tokens
                result = normed * (1 + _row(scale, norm_index, norm_stride, own, columns, mask))
                result += _row(shift, norm_index, norm_stride, own, columns, mask)
            target = normed_a if number == 0 else normed_b
            result = result.to(target.dtype.element_ty)
            tl.store(target + place, result, mask=mask)
            if FP8_ROWS:
                rows = values_a if number == 0 else values_b
                scales = scales_a if number == 0 else scales_b
                store_rows(result.to(tl.float32), columns, mask, token, width, rows, scales)


def residual_norm(
    x: Tensor, update: Tensor | None, gate, norms, eps: float, fp8_rows: bool = False, normalised: bool = True
) -> tuple[Tensor, tuple[Tensor, ...], list[tuple[Tensor, Tensor]]]:
    """See `ltx_core.kernels.norm`.  x (R, T, D) contiguous takes the sum in place; at most two norms (shift, scale).

    Without `normalised` the norms are only modulated.  Returns x, the norms, and with `fp8_rows` the float8 values and
    scales of each norm.
    """
    width = x.shape[-1]
    tokens = x.numel() // width
    update = None if update is None else update.contiguous()
    outputs = tuple(torch.empty_like(x) for _ in norms)
    quantized = [empty_rows(tokens, width, x.device) for _ in norms] if fp8_rows else []
    modulated = bool(norms) and norms[0][0] is not None
    vectors = [vector for pair in norms for vector in pair] if modulated else []
    launch(
        _residual_norm, (tokens,), x, x if update is None else update, x,
        x if gate is None else gate.values, *_lookup(gate, x.device),
        *_padded([vector.values for vector in vectors], x, 4), *_lookup(vectors[0] if modulated else None, x.device),
        *_padded(outputs, x, 2), *_padded([own[0] for own in quantized], x, 2),
        *_padded([own[1] for own in quantized], x, 2),
        width, eps,
        HAS_UPDATE=update is not None, HAS_GATE=gate is not None,
        NORMS=len(norms), NORMALISED=normalised, MODULATED=modulated,
        FP8_ROWS=fp8_rows, BLOCK=triton.next_power_of_2(width), num_warps=8 if len(norms) == 2 else 4,
    )  # fmt: skip
    return x, outputs, quantized


def _lookup(vector, device: torch.device) -> tuple[Tensor, int, int]:
    """Kernel arguments that find a token's vector: index, stride between vectors, length of the index."""
    index = _zero(device) if vector is None or vector.index is None else vector.index
    return index, 0 if vector is None else vector.values.stride(0), index.numel()


@functools.cache
def _zero(device: torch.device) -> Tensor:
    """The index of the one vector that all tokens share."""
    return torch.zeros(1, dtype=torch.int64, device=device)


def _padded(tensors, filler: Tensor, count: int) -> list[Tensor]:
    """`count` kernel arguments, whether they are used or not."""
    return [*tensors, *[filler] * count][:count]
