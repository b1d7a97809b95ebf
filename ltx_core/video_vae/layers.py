"""The few layers that encoder and decoder are made of.

A network passes its convolutions' common settings once, as `conv`: a callable (in_channels, out_channels) -> module.
"""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.pixel_norm import add_update, convolve_apart, repeat_ends

ConvFactory = Callable[[int, int], nn.Module]
Stride = tuple[int, int, int]


def space_to_depth(x: Tensor, stride: Stride) -> Tensor:
    """(B, C, F*p, H*q, W*r) -> (B, C*p*q*r, F, H, W); the offset along the width varies fastest."""
    p, q, r = stride
    return rearrange(x, "b c (f p) (h q) (w r) -> b (c p q r) f h w", p=p, q=q, r=r)


def depth_to_space(x: Tensor, stride: Stride, bias: Tensor | None = None) -> Tensor:
    """The inverse of `space_to_depth` of x, or of x + bias; keeps channels last in memory where they are."""
    p, q, r = stride
    if not x.is_contiguous(memory_format=torch.channels_last_3d):
        x = x if bias is None else x + bias[:, None, None, None]
        return rearrange(x, "b (c p q r) f h w -> b c (f p) (h q) (w r)", p=p, q=q, r=r)
    parts = x.unflatten(1, (-1, p, q, r)).permute(0, 5, 2, 6, 3, 7, 4, 1)
    out = torch.empty(parts.shape, dtype=x.dtype, device=x.device)
    if bias is None:
        out.copy_(parts)
    else:
        torch.add(parts, bias.view(-1, p, q, r).permute(1, 2, 3, 0)[:, None, :, None], out=out)
    return out.flatten(5, 6).flatten(3, 4).flatten(1, 2).movedim(-1, 1)


def patchify(pixels: Tensor, size: int) -> Tensor:
    """(B, C, F, H*size, W*size) -> (B, C*size*size, F, H, W); here the offset along the height varies fastest."""
    return rearrange(pixels, "b c f (h q) (w r) -> b (c r q) f h w", q=size, r=size)


def unpatchify(x: Tensor, size: int) -> Tensor:
    """The inverse of `patchify`."""
    return rearrange(x, "b (c r q) f h w -> b c f (h q) (w r)", q=size, r=size)


class VideoConv3d(nn.Module):
    """3x3x3 convolution (B, C, F, H, W) -> (B, C', F, H, W).

    Frames are padded by repeating the first one twice (`causal`: no frame sees a later one) or the first and the last
    once.  `padding` is how height and width are padded: "zeros" or "reflect" (at least two pixels each way).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, causal: bool, padding: str, ops=nn, dtype=None, device=None
    ):
        super().__init__()
        self.causal = causal
        self.reflect = padding == "reflect"
        # Reflection is done here, not by the layer: ComfyUI's Conv3d leaves padding_mode out on some GPU set-ups.
        self.conv = ops.Conv3d(
            in_channels,
            out_channels,
            kernel_size=3,
            padding=0 if self.reflect else (0, 1, 1),
            dtype=dtype,
            device=device,
        )

    def forward(self, x: Tensor, *, activate: bool = False) -> Tensor:
        """`activate` puts the pixel norm and SiLU, which most convolutions have in front, before the padding."""
        return self.conv(self._padded(x, activate, None))

    def apart(self, x: Tensor, *, activate: bool = True, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The convolution of x + bias, and its own bias where that is not added yet; `activate` as in `forward`."""
        return convolve_apart(self.conv, self._padded(x, activate, bias))

    def _padded(self, x: Tensor, activate: bool, bias: Tensor | None) -> Tensor:
        before, after = (2, 0) if self.causal else (1, 1)
        x = repeat_ends(x, before, after, activate=activate, bias=bias)
        return F.pad(x, (1, 1, 1, 1, 0, 0), mode="reflect") if self.reflect else x


class ResidualBlock(nn.Module):
    """x + conv2(conv1(x)), each convolution after pixel norm and SiLU, (B, C, F, H, W) -> same."""

    def __init__(self, channels: int, conv: ConvFactory):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner, bias = self.conv1.apart(x)
        return add_update(x, *self.conv2.apart(inner, bias=bias))


class ResidualBlocks(nn.Module):
    """A chain of residual blocks, `res_blocks.N`."""

    def __init__(self, channels: int, layers: int, conv: ConvFactory):
        super().__init__()
        self.res_blocks = nn.ModuleList(ResidualBlock(channels, conv) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class Downsample(nn.Module):
    """(B, C, F, H, W) -> (B, C', F', H/q, W/r): a convolution made smaller by space-to-depth, plus channel means.

    A stride of 2 in time first doubles frame 0, so that 2n+1 frames become n+1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Stride, conv: ConvFactory):
        super().__init__()
        self.stride = stride
        self.out_channels = out_channels
        self.conv = conv(in_channels, out_channels // math.prod(stride))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = torch.cat([x[:, :, :1], x], dim=2)
        means = space_to_depth(x, self.stride).unflatten(1, (self.out_channels, -1)).mean(dim=2)
        return space_to_depth(self.conv(x), self.stride) + means


class Upsample(nn.Module):
    """(B, C, F, H, W) -> (B, C', F', H*q, W*r): a convolution made larger by depth-to-space.

    A stride of 2 in time drops the first of the new frames, so that n+1 frames become 2n+1.  `residual` adds the
    rearranged input, its channels repeated to the new width.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Stride, residual: bool, conv: ConvFactory):
        super().__init__()
        volume = math.prod(stride)
        self.stride = stride
        self.repeats = out_channels * volume // in_channels if residual else 0
        self.conv = conv(in_channels, out_channels * volume)

    def forward(self, x: Tensor) -> Tensor:
        drop = self.stride[0] - 1
        enlarged, bias = self.conv.apart(x, activate=False)
        out = depth_to_space(enlarged, self.stride, bias)[:, :, drop:]
        if self.repeats:
            out = out + depth_to_space(x, self.stride)[:, :, drop:].repeat(1, self.repeats, 1, 1, 1)
        return out
