"""The vocoder's activation: snake, computed at twice the rate so that its overtones do not fold back (anti-aliasing).

As in NVIDIA's BigVGAN-v2.  Tensors are (B, C, T).  The filters are buffers that come from the checkpoint; a fresh
module has their nominal values.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATIO = 2
TAPS = 12
_SNAKE_EPSILON = 1e-9


def kaiser_lowpass(taps: int = TAPS, ratio: int = RATIO) -> np.ndarray:
    """Kaiser-windowed sinc with cut-off 0.5 / ratio and transition 0.6 / ratio of the rate, sum 1, (taps,) float64.

    `taps` is even: the filter lies between two samples.  The window's beta follows Kaiser's formula.
    """
    half = taps // 2
    attenuation = 2.285 * (half - 1) * math.pi * 4 * (0.6 / ratio) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    time = np.arange(-half, half) + 0.5
    lowpass = np.kaiser(taps, beta) * np.sinc(time / ratio)
    return lowpass / lowpass.sum()


def constant(values: np.ndarray, dtype: torch.dtype | None, device: torch.device | str | None) -> Tensor:
    """Computed numbers as a tensor of `dtype` (None: PyTorch's default, as for parameters)."""
    return torch.tensor(values, dtype=dtype or torch.get_default_dtype(), device=device)


def upsample_by_filter(x: Tensor, taps: Tensor, ratio: int, pad: int, crop: tuple[int, int]) -> Tensor:
    """(B, C, T) -> (B, C, ratio * T): edges repeated `pad` times, each channel spread by `taps`, both ends cropped."""
    channels = x.shape[1]
    x = F.pad(x, (pad, pad), mode="replicate")
    x = F.conv_transpose1d(x, (ratio * taps).expand(channels, 1, -1), stride=ratio, groups=channels)
    return x[..., crop[0] : x.shape[-1] - crop[1]]


class SnakeBeta(nn.Module):
    """x + sin(x * e^alpha)^2 / (e^beta + 1e-9), with alpha (frequency) and beta (size) per channel."""

    def __init__(self, channels: int, *, dtype=None, device=None):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels, dtype=dtype, device=device))
        self.beta = nn.Parameter(torch.zeros(channels, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        frequency = self.alpha.to(x).exp()[:, None]
        scale = 1 / (self.beta.to(x).exp()[:, None] + _SNAKE_EPSILON)
        return x + scale * torch.sin(x * frequency) ** 2


class Upsample2(nn.Module):
    """(B, C, T) -> (B, C, 2T)."""

    def __init__(self, *, dtype=None, device=None):
        super().__init__()
        self.register_buffer("filter", constant(kaiser_lowpass()[None, None], dtype, device))

    def forward(self, x: Tensor) -> Tensor:
        # 5 repeated samples on each side cover the 12 taps; they and the filter's delay are cropped again.
        return upsample_by_filter(x, self.filter.to(x), RATIO, TAPS // RATIO - 1, (15, 15))


class LowPass(nn.Module):
    """The low-pass filter in front of the decimation, and the decimation: (B, C, 2T) -> (B, C, T)."""

    def __init__(self, *, dtype=None, device=None):
        super().__init__()
        self.register_buffer("filter", constant(kaiser_lowpass()[None, None], dtype, device))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        x = F.pad(x, (TAPS // 2 - 1, TAPS // 2), mode="replicate")
        return F.conv1d(x, self.filter.to(x).expand(channels, 1, -1), stride=RATIO, groups=channels)


class Downsample2(nn.Module):
    """(B, C, 2T) -> (B, C, T); a level of its own because the checkpoint's names have it."""

    def __init__(self, *, dtype=None, device=None):
        super().__init__()
        self.lowpass = LowPass(dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.lowpass(x)


class AntiAliasedSnake(nn.Module):
    """Twice the rate, snake, and back: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int, *, dtype=None, device=None):
        super().__init__()
        self.upsample = Upsample2(dtype=dtype, device=device)
        self.act = SnakeBeta(channels, dtype=dtype, device=device)
        self.downsample = Downsample2(dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.act(self.upsample(x)))
