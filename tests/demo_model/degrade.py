"""Makes a drawn clip as imperfect as generated ones are."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad


def blurred(video: Tensor, sigma: float) -> Tensor:
    """`sigma` in pixels of a picture 128 high; video (F, H, W, 3)."""
    sigma = sigma * video.shape[1] / 128
    reach = int(3 * sigma) + 1
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    planes = pad(video.permute(0, 3, 1, 2).flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    planes = conv2d(conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes.view(len(video), 3, *video.shape[1:3]).permute(0, 2, 3, 1)


def noisy(video: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    return (video + deviation * torch.randn(video.shape, generator=rng)).clamp(0, 1)


def stained(video: Tensor, deviation: float, rng: torch.Generator, cells: int = 6) -> Tensor:
    """Adds slowly changing blots of colour."""
    frames, height, width = video.shape[:3]
    blots = deviation * torch.randn(1, 3, frames // 8 + 2, cells, cells, generator=rng)
    blots = interpolate(blots, (frames, height, width), mode="trilinear", align_corners=True)
    return (video + blots[0].permute(1, 2, 3, 0)).clamp(0, 1)
