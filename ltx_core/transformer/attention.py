"""Gated multi-head attention with query/key normalisation over all heads together and rotary positions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rope import RotaryTable, apply_rotary

AttentionFunction = Callable[..., Tensor]


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's attention: q (B, H, Tq, D), k and v (B, H, Tk, D), additive or boolean mask -> (B, H, Tq, D)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, without a weight."""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)


class RMSNorm(nn.Module):
    """RMS normalisation of the last dimension with a weight that may live on another device until it is used."""

    def __init__(self, width: int, *, eps: float, dtype=None, device=None):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x), self.eps)


class Attention(nn.Module):
    """Attention of x (B, Tq, query_dim) over a context (B, Tk, context_dim), x itself when there is none.

    The gate, 2 * sigmoid of one logit per head taken from x, multiplies each head before the output projection.
    """

    def __init__(
        self,
        query_dim: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        gated: bool,
        norm_eps: float = 1e-6,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        inner = heads * head_dim
        factory = {"dtype": dtype, "device": device}
        self.heads = heads
        self.attention = attention
        self.to_q = ops.Linear(query_dim, inner, **factory)
        self.to_k = ops.Linear(context_dim, inner, **factory)
        self.to_v = ops.Linear(context_dim, inner, **factory)
        self.to_out = nn.Sequential(ops.Linear(inner, query_dim, **factory))
        self.q_norm = RMSNorm(inner, eps=norm_eps, **factory)
        self.k_norm = RMSNorm(inner, eps=norm_eps, **factory)
        self.to_gate_logits = ops.Linear(query_dim, heads, **factory) if gated else None

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        rope: RotaryTable | None = None,
        context_rope: RotaryTable | None = None,
        mask: Tensor | None = None,
        bypass: tuple[bool, ...] = (),
    ) -> Tensor:
        """`bypass` marks batch rows whose attention is replaced by the values themselves (spatio-temporal guidance)."""
        context = x if context is None else context
        context_rope = rope if context_rope is None else context_rope
        if not any(bypass):
            heads = self._attend(x, context, rope, context_rope, mask)
        elif all(bypass):
            heads = self.to_v(context).unflatten(-1, (self.heads, -1))
        else:
            heads = self._attend_some(x, context, rope, context_rope, mask, bypass)
        if self.to_gate_logits is not None:
            heads = heads * (2 * torch.sigmoid(self.to_gate_logits(x)))[..., None]
        return self.to_out(heads.flatten(2))

    def _attend_some(self, x, context, rope, context_rope, mask, bypass: tuple[bool, ...]) -> Tensor:
        rows = [
            self.to_v(context[i : i + 1]).unflatten(-1, (self.heads, -1)) if skip else None
            for i, skip in enumerate(bypass)
        ]
        kept = [i for i, skip in enumerate(bypass) if not skip]
        attended = self._attend(x[kept], context[kept], rope, context_rope, mask)
        for row, i in enumerate(kept):
            rows[i] = attended[row : row + 1]
        return torch.cat(rows)

    def _attend(self, x, context, rope, context_rope, mask) -> Tensor:
        """Softmax attention, heads apart: (B, Tq, H, D)."""
        q = self._split(self.q_norm(self.to_q(x)))
        k = self._split(self.k_norm(self.to_k(context)))
        v = self._split(self.to_v(context))
        if rope is not None:
            q, k = apply_rotary(q, rope), apply_rotary(k, context_rope)
        return self.attention(q, k, v, mask).transpose(1, 2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
