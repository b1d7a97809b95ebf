"""What surrounds attention: query/key normalisation with rotary positions before it, gates after it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dispatch import can_fuse
from .fp8 import Fp8Rows, takes_rows
from .rotary import RotaryTable, apply_rotary


def norm_rotate(x: Tensor, weight: Tensor, heads: int, table: RotaryTable | None, eps: float) -> Tensor:
    """RMS norm of x (R, T, H*D) over all heads together with `weight` (H*D,), split into heads, then rotated.

    Returns (R, H, T, D) whose storage is (R, T, H, D).
    """
    if can_fuse(x):
        from .triton_heads import norm_rotate as kernel

        return kernel(x.contiguous(), weight, heads, table, eps)
    normed = F.rms_norm(x, (x.shape[-1],), weight, eps).unflatten(-1, (heads, -1)).transpose(1, 2)
    return normed if table is None else apply_rotary(normed, table.rotation)


def gate_heads(parts: Sequence[Tensor], logits: Tensor | None, reader: nn.Module | None = None) -> Tensor | Fp8Rows:
    """Each head times 2 * sigmoid of its logit (R, T, H); heads joined: (R, T, H*D).

    The heads (r, H, T, D) come in one or more parts, R rows in all.  For a reader that multiplies in float8, the fused
    kernel gives the rows alone.
    """
    if logits is not None and can_fuse(parts[0]):
        from .triton_heads import gate_heads as kernel

        if not takes_rows(reader, parts[0]):
            return kernel(parts, logits, fp8_rows=False)
        width = parts[0].shape[1] * parts[0].shape[3]
        return Fp8Rows(*kernel(parts, logits, fp8_rows=True), torch.Size((*logits.shape[:2], width)), parts[0].dtype)
    x = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    x = x.transpose(1, 2)
    return (x if logits is None else x * (2 * torch.sigmoid(logits))[..., None]).flatten(2)
