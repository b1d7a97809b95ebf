"""Pixel norm and SiLU, together with the repeated frames that a convolution in time needs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .dispatch import fused

EPS = 1e-8


def pixel_norm(x: Tensor) -> Tensor:
    """Divides each pixel's channels by their root mean square; no weights.  x (B, C, F, H, W), same out."""
    return x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + EPS)


def repeat_ends(x: Tensor, before: int, after: int, *, activate: bool) -> Tensor:
    """x (B, C, F, H, W), after silu(pixel_norm(x)) if `activate`, with its first and last frame repeated.

    Returns (B, C, before + F + after, H, W); from the fused kernel with channels last in memory, as cuDNN's fastest
    convolutions want it.
    """
    if fused(x):
        from .triton_pixel_norm import norm_silu_pad

        return norm_silu_pad(x, before, after, activate, EPS)
    if activate:
        x = F.silu(pixel_norm(x))
    return torch.cat([x[:, :, :1]] * before + [x] + [x[:, :, -1:]] * after, dim=2)
