"""Triton: pixel norm, SiLU and the padding in time in front of a convolution, in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _norm_silu_pad(
    x, out, channels, pixels, frame_pixels, frames, eps,
    BEFORE: tl.constexpr, AFTER: tl.constexpr, ACTIVATE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """ROWS pixels of one video; the first and the last frame also go to the frames that repeat them."""
    video = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    source = (video * pixels + pixel)[:, None] * channels + channel[None, :]
    values = tl.load(x + source, mask=inside, other=0.0)
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


def norm_silu_pad(x: Tensor, before: int, after: int, activate: bool, eps: float) -> Tensor:
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
        x, out, channels, pixels, height * width, frames, eps,
        BEFORE=before, AFTER=after, ACTIVATE=activate, BLOCK=block, ROWS=rows, num_warps=8,
    )  # fmt: skip
    return out
