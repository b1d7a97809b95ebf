"""RMS norm with modulation, alone or together with the gated residual that comes before it."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activation import Activation
from .dispatch import can_fuse
from .fp8 import Fp8Rows, takes_rows


class TokenIndex(Protocol):
    """Another way than a tensor to say which vector each token has.  The fused kernels do not take it."""

    def spread(self, values: Tensor) -> Tensor:
        """Each token's own of the vectors (N, D): (B, T, D)."""


@dataclass(frozen=True)
class TokenVector:
    """A vector for every token: `values` (N, D) looked up through `index` (B, T), or one (1, D) for all of them."""

    values: Tensor
    index: Tensor | TokenIndex | None

    def per_token(self) -> Tensor:
        """(B, T, D), or (1, 1, D) when all tokens share one."""
        if self.index is None:
            return self.values[None]
        return self.values[self.index] if isinstance(self.index, Tensor) else self.index.spread(self.values)


@dataclass(frozen=True)
class Norm:
    """A norm's shift and scale, both None for a plain one, and the linear layer that reads the result.

    The result has float8 rows if that layer takes them.
    """

    shift: TokenVector | None
    scale: TokenVector | None
    reader: nn.Module | None = None


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, without a weight."""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)


def modulated_norm(x: Tensor, norm: Norm, eps: float) -> Activation:
    """rms_norm(x) * (1 + scale) + shift of x (R, T, D)."""
    if can_fuse(x) and _in_tensors(norm.shift):
        return _fused(x, None, None, (norm,), eps)[1][0]
    return _modulated(rms_norm(x, eps), norm)


def modulate(x: Tensor, norm: Norm) -> Activation:
    """x * (1 + scale) + shift of x (R, T, D): `modulated_norm` of what is normalised already."""
    # Where the modulation alone asks for a gradient, x would not tell.
    if can_fuse(x) and can_fuse(norm.shift.values) and _in_tensors(norm.shift):
        return _fused(x, None, None, (norm,), 0.0, normalised=False)[1][0]
    return _modulated(x, norm)


def residual_norm(
    x: Tensor, update: Tensor, gate: TokenVector | None, norms: tuple[Norm, ...], eps: float
) -> tuple[Tensor, tuple[Activation, ...]]:
    """x + update * gate for x, update (R, T, D), and its modulated norms (up to two, which share their index).

    x is given away: the sum may lie in its storage, and only what is returned counts.  A gate of None is one.
    """
    if can_fuse(x) and _in_tensors(gate) and (not norms or _in_tensors(norms[0].shift)):
        return _fused(x, update, gate, norms, eps)
    x = x + _gated(update, gate)
    normed = rms_norm(x, eps) if norms else None
    return x, tuple(_modulated(normed, norm) for norm in norms)


def residual(x: Tensor, update: Tensor, gate: TokenVector | None) -> Tensor:
    """x (R, T, D) with update * gate added to its first rows, as many as the update (r, T, D) has.

    x is given away: the sum may lie in its storage, and only what is returned counts.  A gate of None is one.
    """
    if can_fuse(x) and _in_tensors(gate):
        x = x.contiguous()
        _fused(x[: update.shape[0]], update, gate, (), 0.0)
        return x
    first, rest = x[: update.shape[0]], x[update.shape[0] :]
    changed = first + _gated(update, gate)
    return torch.cat((changed, rest)) if len(rest) else changed


def _fused(
    x: Tensor, update: Tensor | None, gate: TokenVector | None, norms: tuple[Norm, ...], eps: float, **how: bool
) -> tuple[Tensor, tuple[Activation, ...]]:
    """All of it in one kernel, which writes the sum into x."""
    from .triton_norm import residual_norm as kernel

    rows = any(takes_rows(norm.reader, x) for norm in norms)
    pairs = [(norm.shift, norm.scale) for norm in norms]
    x, normed, quantised = kernel(x.contiguous(), update, gate, pairs, eps, rows, **how)
    if not rows:
        return x, tuple([Activation(tensor) for tensor in normed])
    shape, dtype = x.shape, x.dtype
    made = zip(normed, quantised, strict=True)
    return x, tuple([Activation(tensor, Fp8Rows(*own, shape, dtype)) for tensor, own in made])


def _in_tensors(vector: TokenVector | None) -> bool:
    """Whether the kernels can look the vector up."""
    return vector is None or vector.index is None or isinstance(vector.index, Tensor)


def _gated(update: Tensor, gate: TokenVector | None) -> Tensor:
    return update if gate is None else update * gate.per_token()


def _modulated(normed: Tensor, norm: Norm) -> Activation:
    if norm.shift is not None:
        normed = normed * (1 + norm.scale.per_token()) + norm.shift.per_token()
    return Activation.made_for(norm.reader, normed)
