"""What surrounds the convolutions of a video network: pixel norm, SiLU, repeated frames, biases, residual sums."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dispatch import can_fuse
from .layer_protocols import LeavesBias, offers

EPS = 1e-8


def pixel_norm(x: Tensor) -> Tensor:
    """Divides each pixel's channels by their root mean square; no weights.  x (B, C, F, H, W), same out."""
    return x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + EPS)


def repeat_ends(x: Tensor, before: int, after: int, *, activate: bool, bias: Tensor | None = None) -> Tensor:
    """x (B, C, F, H, W), after silu(pixel_norm(x)) if `activate`, with its first and last frame repeated.

    A `bias` (C,) is first added to x: that of the convolution that made it.  Returns (B, C, before + F + after, H, W);
    from the fused kernel with channels last in memory, as cuDNN's fastest convolutions want it.
    """
    if can_fuse(x):
        from .triton_pixel_norm import norm_silu_pad

        return norm_silu_pad(x, before, after, activate, EPS, bias)
    x = _with_bias(x, bias)
    if activate:
        x = F.silu(pixel_norm(x))
    return torch.cat([x[:, :, :1]] * before + [x] + [x[:, :, -1:]] * after, dim=2)


def add_update(x: Tensor, update: Tensor, bias: Tensor | None) -> Tensor:
    """x + update, both (B, C, F, H, W), and the bias (C,) of the convolution that made the update."""
    if bias is not None and can_fuse(x):
        from .triton_pixel_norm import add_update as kernel

        return kernel(x, update, bias)
    return x + _with_bias(update, bias)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias[:, None, None, None]


def convolve_apart(conv: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """conv(x) without its bias, and the bias (C,) for whoever reads the result; with it, and None, where that is all.

    cuDNN's convolutions in three dimensions add their bias in a pass of its own over the result.
    """
    if not can_fuse(x):
        return conv(x), None
    if type(conv) is nn.Conv3d:
        return F.conv3d(x, conv.weight, None, conv.stride, conv.padding), conv.bias
    return conv.forward_apart(x) if offers(conv, LeavesBias) else (conv(x), None)
