"""Makes a drawn clip as imperfect as generated ones are."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def blurred(video: Tensor, sigma: float) -> Tensor:
    """`sigma` in pixels of a picture of 128 by 128; video (F, H, W, 3)."""
    planes = video.permute(0, 3, 1, 2)
    planes = _gaussian(video.shape[1], sigma) @ planes @ _gaussian(video.shape[2], sigma).T
    return planes.permute(0, 2, 3, 1)


def _gaussian(pixels: int, sigma: float) -> Tensor:
    """(N, N): each row averages around its pixel."""
    places = torch.arange(pixels) * (128 / pixels)
    rows = torch.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
    return rows / rows.sum(dim=1, keepdim=True)


def noisy(video: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    return (video + deviation * torch.randn(video.shape, generator=rng)).clamp(0, 1)


def stained(video: Tensor, deviation: float, rng: torch.Generator, cells: int = 6) -> Tensor:
    """Adds slowly changing blots of colour."""
    frames, height, width = video.shape[:3]
    blots = deviation * torch.randn(1, 3, frames // 8 + 2, cells, cells, generator=rng)
    blots = interpolate(blots, (frames, height, width), mode="trilinear", align_corners=True)
    return (video + blots[0].permute(1, 2, 3, 0)).clamp(0, 1)
