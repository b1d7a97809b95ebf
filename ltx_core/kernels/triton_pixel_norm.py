"""Triton: pixel norm, SiLU and the padding in time in front of a convolution, in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor


# Compiling takes a quarter of a second for every variant: sizes of the picture make none.
@triton.jit(do_not_specialize=["pixels", "frame_pixels", "frames"])
def _norm_silu_pad(
    x, bias, out, channels, pixels, frame_pixels, frames, eps,
    BEFORE: tl.constexpr, AFTER: tl.constexpr, ACTIVATE: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """ROWS pixels of one video; the first and the last frame also go to the frames that repeat them."""
    video = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    source = (video * pixels + pixel)[:, None] * channels + channel[None, :]
    values = tl.load(x + source, mask=inside, other=0.0)
    if HAS_BIAS:
        added = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
        values = (values.to(tl.float32) + added[None, :]).to(out.dtype.element_ty)
    if ACTIVATE:
        wide = values.to(tl.float32)
        scale = tl.rsqrt(tl.sum(wide * wide, axis=1) / channels + eps)
        wide = wide * scale[:, None]
        values = (wide * tl.sigmoid(wide)).to(out.dtype.element_ty)
    first_row = video * (pixels + (BEFORE + AFTER) * frame_pixels) + pixel
    tl.store(out + (first_row + BEFORE * frame_pixels)[:, None] * channels + channel[None, :], values, mask=inside)
    frame = pixel // frame_pixels
    for copy in tl.static_range(BEFORE):
        target = (first_row + copy * frame_pixels)[:, None] * channels + channel[None, :]
        tl.store(out + target, values, mask=inside & (frame == 0)[:, None])
    for copy in tl.static_range(AFTER):
        target = (first_row + (BEFORE + 1 + copy) * frame_pixels)[:, None] * channels + channel[None, :]
        tl.store(out + target, values, mask=inside & (frame == frames - 1)[:, None])


@triton.jit
def _add_update(x, update, bias, out, channels, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    total = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(update + place, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(bias + place % channels, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


def add_update(x: Tensor, update: Tensor, bias: Tensor) -> Tensor:
    """See `ltx_core.kernels.pixel_norm`: x, update (B, C, F, H, W) and bias (C,) -> their sum, channels last."""
    x, update = (t.contiguous(memory_format=torch.channels_last_3d) for t in (x, update))
    out = torch.empty_like(x)
    block = 4096
    _add_update[(triton.cdiv(x.numel(), block),)](x, update, bias, out, x.shape[1], x.numel(), BLOCK=block, num_warps=8)
    return out


def norm_silu_pad(x: Tensor, before: int, after: int, activate: bool, eps: float, bias: Tensor | None = None) -> Tensor:
    """See `ltx_core.kernels.pixel_norm`: x (B, C, F, H, W) -> (B, C, before + F + after, H, W), channels last."""
    x = x.contiguous(memory_format=torch.channels_last_3d)
    batch, channels, frames, height, width = x.shape
    out = torch.empty(
        (batch, channels, before + frames + after, height, width),
        dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d,
    )  # fmt: skip
    block = triton.next_power_of_2(channels)
    rows = max(1, 4096 // block)
    pixels = frames * height * width
    _norm_silu_pad[(triton.cdiv(pixels, rows), batch)](
        x, x if bias is None else bias, out, channels, pixels, height * width, frames, eps,
        BEFORE=before, AFTER=after, ACTIVATE=activate, HAS_BIAS=bias is not None, BLOCK=block, ROWS=rows, num_warps=8,
    )  # fmt: skip
    return out
