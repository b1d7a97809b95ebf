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
        if all(bypass) and bypass:
            return self._leave(x, self._split(self.to_v(context)))
        if not any(bypass):
            k, v = self.keys_values(context, context_rope)
            return self._leave(x, self._attend(x, k, v, rope, mask))
        kept = [row for row, skip in enumerate(bypass) if not skip]
        v = self._split(self.to_v(context))
        heads = self._attend(x[kept], self._keys(context[kept], context_rope), v[kept], rope, mask)
        return self._leave(x, v.index_copy(0, torch.tensor(kept, device=v.device), heads))

    def keys_values(self, context: Tensor, rope: RotaryTable | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, Tk, D) of a context, to share between the rows that attend to it."""
        return self._keys(context, rope), self._split(self.to_v(context))

    def attend(self, x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of x (B, Tq, query_dim) over keys and values that `keys_values` made, without positions."""
        return self._leave(x, self._attend(x, k, v, None, None))

    def _keys(self, context: Tensor, rope: RotaryTable | None) -> Tensor:
        k = self._split(self.k_norm(self.to_k(context)))
        return k if rope is None else apply_rotary(k, rope)

    def _attend(self, x: Tensor, k: Tensor, v: Tensor, rope: RotaryTable | None, mask: Tensor | None) -> Tensor:
        q = self._split(self.q_norm(self.to_q(x)))
        if rope is not None:
            q = apply_rotary(q, rope)
        return self.attention(q, k, v, mask)

    def _leave(self, x: Tensor, heads: Tensor) -> Tensor:
        """Gates the heads (B, H, Tq, D) by the query side's input and projects them: (B, Tq, query_dim)."""
        heads = heads.transpose(1, 2)
        if self.to_gate_logits is not None:
            heads = heads * (2 * torch.sigmoid(self.to_gate_logits(x)))[..., None]
        return self.to_out(heads.flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
