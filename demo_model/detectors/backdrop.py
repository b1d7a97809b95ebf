"""The background behind a clip's shape, and how much of each pixel the shape covers."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

GRID = 32  # the background is fitted on a picture of this size
OUTLIER = 0.05  # difference from the background, in RGB, at which a pixel counts half
ROUNDS = 12
FAINTEST = 0.15  # a shape differs from the background at least by this much


def fit_background(video: Tensor) -> Tensor:
    """(H, W, 3): for each channel a plane over the picture, fitted robustly to the median of the frames (F, H, W, 3).

    The worlds' backgrounds are planes, plain or gradient.  The border is asked first: shapes keep away from it.
    """
    height, width = video.shape[1:3]
    still = video[:: max(1, len(video) // 9)].median(dim=0).values
    seen = adaptive_avg_pool2d(still.permute(2, 0, 1), GRID).flatten(1).T
    grid = _plane(GRID, GRID, video)
    weight = ((grid[:, 1:].abs() > 1 - 3 / GRID).any(dim=1)).to(video.dtype)[:, None]
    for _ in range(ROUNDS):
        scaled = grid * weight
        planes = torch.linalg.solve(scaled.T @ grid, scaled.T @ seen)
        off = (seen - grid @ planes).norm(dim=1, keepdim=True)
        weight = 1 / (1 + (off / OUTLIER) ** 2) ** 2
    return (_plane(height, width, video) @ planes).view(height, width, 3)


def _plane(height: int, width: int, like: Tensor) -> Tensor:
    """(H * W, 3): one, x and y of each pixel, x and y in -1..1."""
    y = (torch.arange(height, device=like.device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=like.device) * 2 + 1) / width - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((torch.ones_like(x), x, y), dim=-1).view(-1, 3)


def paint_of(video: Tensor, background: Tensor) -> Tensor | None:
    """The shape's RGB (3,): the median of what differs most from the background; None if nothing differs."""
    off = (video - background).square().sum(dim=-1).sqrt()  # norm over 3 values is ten times slower
    strong = off.flatten().kthvalue(int(off.numel() * 0.99)).values
    if strong < FAINTEST:
        return None
    return video[off > 0.8 * strong].median(dim=0).values


def coverage(video: Tensor, background: Tensor, paint: Tensor) -> Tensor:
    """(F, H, W) in 0..1: how far each pixel is on the way from the background to the paint, faint traces removed."""
    way = paint - background
    share = ((video - background) * way).sum(dim=-1) / way.square().sum(dim=-1)
    return ((share - 0.25) * 2).clamp(0, 1)
