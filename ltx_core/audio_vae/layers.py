"""Layers of the audio autoencoder: 2-D convolutions over (time, mel), causal in time.

Tensors are (B, C, T, M).  Causal means that row `t` of the output sees rows `<= t` of the input only: all time padding
is in front.  Module names equal the checkpoint's.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PIXEL_NORM_EPSILON = 1e-6


def pixel_norm(x: Tensor) -> Tensor:
    """Divides every (time, mel) position by the root mean square of its channels."""
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + PIXEL_NORM_EPSILON)


def norm_silu(x: Tensor) -> Tensor:
    return F.silu(pixel_norm(x))


class CausalConv2d(nn.Module):
    """Convolution with zero padding: all of it in front on the time axis, half on each side on the mel axis."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, *, ops, dtype, device):
        super().__init__()
        side = (kernel - 1) // 2
        self.padding = (side, side, kernel - 1, 0)
        self.conv = ops.Conv2d(in_channels, out_channels, kernel, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class ResBlock(nn.Module):
    """x + conv2(act(conv1(act(x)))) with act = SiLU of PixelNorm; a 1x1 convolution on x where channels change."""

    def __init__(self, in_channels: int, out_channels: int, **options):
        super().__init__()
        self.conv1 = CausalConv2d(in_channels, out_channels, **options)
        self.conv2 = CausalConv2d(out_channels, out_channels, **options)
        if in_channels != out_channels:
            self.nin_shortcut = CausalConv2d(in_channels, out_channels, 1, **options)
        else:
            self.nin_shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.nin_shortcut(x) + self.conv2(norm_silu(self.conv1(norm_silu(x))))


class MidBlock(nn.Module):
    """Two residual blocks at the coarsest level."""

    def __init__(self, channels: int, **options):
        super().__init__()
        self.block_1 = ResBlock(channels, channels, **options)
        self.block_2 = ResBlock(channels, channels, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.block_1(x))


class Downsample(nn.Module):
    """Halves both axes: T -> ceil(T / 2), causal; M -> M / 2."""

    def __init__(self, channels: int, *, ops, dtype, device):
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 2, 0)))


class Upsample(nn.Module):
    """Doubles both axes by repetition and convolves; the first row is dropped: T -> 2T - 1, M -> 2M.

    The encoder pads two rows in front before it halves, so its first latent row stands for a single mel frame.
    """

    def __init__(self, channels: int, **options):
        super().__init__()
        self.conv = CausalConv2d(channels, channels, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))[:, :, 1:]


def _res_blocks(in_channels: int, out_channels: int, count: int, options: dict) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * count
    return nn.Sequential(*(ResBlock(a, b, **options) for a, b in pairwise(widths)))


class DownLevel(nn.Module):
    """Residual blocks at one resolution, then (but for the last level) half of it."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, downsample: bool, **options):
        super().__init__()
        self.block = _res_blocks(in_channels, out_channels, num_blocks, options)
        self.downsample = Downsample(out_channels, **options) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.block(x))


class UpLevel(nn.Module):
    """Residual blocks at one resolution, then (but for the last level) twice of it."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, upsample: bool, **options):
        super().__init__()
        self.block = _res_blocks(in_channels, out_channels, num_blocks, options)
        self.upsample = Upsample(out_channels, **options) if upsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(self.block(x))
