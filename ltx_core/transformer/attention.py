"""Gated multi-head attention with query/key normalisation over all heads together and rotary positions."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..kernels.activation import Activation, read
from ..kernels.attention import scaled_dot_product
from ..kernels.heads import gate_heads, norm_rotate
from ..kernels.rotary import RotaryTable

AttentionFunction = Callable[..., Tensor]


class HeadsNorm(nn.Module):
    """RMS norm over all heads together, split into heads and rotated: (B, T, H*D) -> (B, H, T, D).

    Its weight may live on another device, in another dtype, until it is used.
    """

    def __init__(self, width: int, heads: int, *, eps: float, dtype=None, device=None):
        super().__init__()
        self.heads = heads
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype, device=device))

    def forward(self, x: Tensor, rope: RotaryTable | None) -> Tensor:
        return norm_rotate(x, self.weight.to(x), self.heads, rope, self.eps)


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
        self.q_norm = HeadsNorm(inner, heads, eps=norm_eps, **factory)
        self.k_norm = HeadsNorm(inner, heads, eps=norm_eps, **factory)
        self.to_gate_logits = ops.Linear(query_dim, heads, **factory) if gated else None

    def forward(
        self,
        x: Tensor | Activation,
        context: Tensor | Activation | None = None,
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
            return self._leave(x, [self._split(read(self.to_v, context))])
        if not any(bypass):
            k, v = self.keys_values(context, context_rope)
            return self._leave(x, [self._attend(x, k, v, rope, mask)])
        v = self._split(read(self.to_v, context))
        heads = []
        for row, skip in enumerate(bypass):
            own = slice(row, row + 1)
            k = None if skip else self._keys(context[own], context_rope)
            heads.append(v[own] if skip else self._attend(x[own], k, v[own], rope, mask))
        return self._leave(x, heads)

    def keys_values(self, context: Tensor | Activation, rope: RotaryTable | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, Tk, D) of a context, to share between the rows that attend to it."""
        return self._keys(context, rope), self._split(read(self.to_v, context))

    def attend(self, x: Tensor | Activation, k: Tensor, v: Tensor, contexts: tuple[int, ...] | None = None) -> Tensor:
        """Attention of x (R, Tq, query_dim) over keys and values (C, H, Tk, D) of `keys_values`, without positions.

        `contexts` says which of them each row takes (None: its own); neighbours that share one are attended together,
        so that keys and values are not repeated.
        """
        if contexts is None:
            return self._leave(x, [self._attend(x, k, v, None, None)])
        q, heads, first = self.q_norm(read(self.to_q, x), None), [], 0
        for context, run in itertools.groupby(contexts):
            count = len(list(run))
            own = q[first : first + count].transpose(1, 2).flatten(0, 1)[None].transpose(1, 2)
            part = self.attention(own, k[context : context + 1], v[context : context + 1], None)
            heads.append(part.transpose(1, 2)[0].unflatten(0, (count, -1)).transpose(1, 2))
            first += count
        return self._leave(x, heads)

    def _keys(self, context: Tensor | Activation, rope: RotaryTable | None) -> Tensor:
        return self.k_norm(read(self.to_k, context), rope)

    def _attend(
        self, x: Tensor | Activation, k: Tensor, v: Tensor, rope: RotaryTable | None, mask: Tensor | None
    ) -> Tensor:
        return self.attention(self.q_norm(read(self.to_q, x), rope), k, v, mask)

    def _leave(self, x: Tensor | Activation, heads: list[Tensor]) -> Tensor:
        """Gates the heads, parts (b, H, Tq, D), by the query side's input and projects them: (B, Tq, query_dim)."""
        logits = None if self.to_gate_logits is None else read(self.to_gate_logits, x)
        return self.to_out(gate_heads(heads, logits, reader=self.to_out[0]))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
