"""The outline of what a clip shows: what the IC-LoRA is given as its reference."""

import torch
from torch import Tensor
from torch.nn import functional as F

STEP = 0.08  # between neighbouring pixels, of a range of 2: gradients stay below, every shape is above


def outline(clips: Tensor) -> Tensor:
    """Clips (..., 3, F, H, W) in [-1, 1] -> the same size: 1 (white) along the edges, else -1 (black)."""
    across = F.pad(clips.diff(dim=-1).abs(), (0, 1))
    down = F.pad(clips.diff(dim=-2).abs(), (0, 0, 0, 1))
    edges = torch.maximum(across, down).amax(dim=-4, keepdim=True) > STEP
    return (2.0 * edges - 1).expand_as(clips).to(clips.dtype)
