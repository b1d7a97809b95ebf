"""What surrounds attention: query/key normalisation with rotary positions before it, gates after it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..transformer.rope import RotaryTable, apply_rotary
from .dispatch import fused
from .fp8 import Fp8Rows


def norm_rotate(x: Tensor, weight: Tensor, heads: int, table: RotaryTable | None, eps: float) -> Tensor:
    """RMS norm of x (R, T, H*D) over all heads together with `weight` (H*D,), split into heads, then rotated.

    Returns (R, H, T, D) whose storage is (R, T, H, D).
    """
    if fused(x):
        from .triton_heads import norm_rotate as kernel

        return kernel(x.contiguous(), weight, heads, table, eps)
    normed = F.rms_norm(x, (x.shape[-1],), weight, eps).unflatten(-1, (heads, -1)).transpose(1, 2)
    return normed if table is None else apply_rotary(normed, table.rotation)


def gate_heads(x: Tensor, logits: Tensor | None, *, fp8_rows: bool = False) -> Tensor | Fp8Rows:
    """Each head of x (R, H, T, D) times 2 * sigmoid of its logit (R, T, H); heads joined: (R, T, H*D).

    With `fp8_rows` the fused kernel gives the result in float8 only (see `kernels.fp8`).
    """
    if logits is None:
        return x.transpose(1, 2).flatten(2)
    if fused(x):
        from .triton_heads import gate_heads as kernel

        return kernel(x, logits, fp8_rows)
    return (x.transpose(1, 2) * (2 * torch.sigmoid(logits))[..., None]).flatten(2)
