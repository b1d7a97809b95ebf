"""RMS norm with modulation, alone or together with the gated residual that comes before it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .dispatch import fused


@dataclass(frozen=True)
class Runs:
    """An index for training, where an indexed lookup's gradient would be slow: each sample's tokens in a few runs.

    `values` then hold one vector for each run, sample by sample: (B * runs, D) for runs of `lengths` tokens.
    """

    lengths: tuple[int, ...]

    def spread(self, values: Tensor) -> Tensor:
        """(B, T, D), T tokens of all runs together."""
        runs = values.unflatten(0, (-1, len(self.lengths))).split(1, dim=1)
        return torch.cat([run.expand(-1, length, -1) for run, length in zip(runs, self.lengths, strict=True)], dim=1)


@dataclass(frozen=True)
class TokenRow:
    """A vector for every token: `values` (N, D) looked up through `index` (B, T), or one (1, D) for all of them.

    `Runs` are for training: the fused kernels, which no gradient flows through, do not take them.
    """

    values: Tensor
    index: Tensor | Runs | None

    def per_token(self) -> Tensor:
        """(B, T, D), or (1, 1, D) when all tokens share one."""
        if isinstance(self.index, Runs):
            return self.index.spread(self.values)
        return self.values[None] if self.index is None else self.values[self.index]


Norm = tuple[TokenRow | None, TokenRow | None]
PLAIN: Norm = (None, None)


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, without a weight."""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)


def modulated_norm(x: Tensor, norm: Norm, eps: float, *, fp8_rows: bool = False) -> Tensor:
    """rms_norm(x) * (1 + scale) + shift of x (R, T, D); `norm` is (shift, scale), or PLAIN.

    With `fp8_rows` the fused kernel leaves the result's float8 rows beside it (see `kernels.fp8`).
    """
    if fused(x) and _for_kernels(norm):
        from .triton_norm import residual_norm

        return residual_norm(x.contiguous(), None, None, (norm,), eps, fp8_rows)[1][0]
    return _modulate(rms_norm(x, eps), norm)


def modulate(x: Tensor, norm: Norm, *, fp8_rows: bool = False) -> Tensor:
    """x * (1 + scale) + shift of x (R, T, D): `modulated_norm` of what is normalised already."""
    # Where only the modulation learns, as under a LoRA in training, x alone would not tell.
    if fused(x) and fused(norm[0].values) and _for_kernels(norm):
        from .triton_norm import residual_norm

        return residual_norm(x.contiguous(), None, None, (norm,), 0.0, fp8_rows, normalised=False)[1][0]
    return _modulate(x, norm)


def residual_norm(
    x: Tensor, update: Tensor, gate: TokenRow | None, norms: tuple[Norm, ...], eps: float, *, fp8_rows: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """x + update * gate for x, update (R, T, D), and its modulated norms (up to two, which share their index).

    x is given away: the fused kernel writes the sum into its storage.  A gate of None is one.  With `fp8_rows` the
    fused kernel leaves the norms' float8 rows beside them.
    """
    if fused(x) and all(map(_for_kernels, norms)):
        from .triton_norm import residual_norm as kernel

        return kernel(x.contiguous(), update, gate, norms, eps, fp8_rows)
    x = x + (update if gate is None else update * gate.per_token())
    normed = rms_norm(x, eps) if norms else None
    return x, tuple(_modulate(normed, norm) for norm in norms)


def _for_kernels(norm: Norm) -> bool:
    return norm[0] is None or not isinstance(norm[0].index, Runs)


def _modulate(normed: Tensor, norm: Norm) -> Tensor:
    shift, scale = norm
    return normed if shift is None else normed * (1 + scale.per_token()) + shift.per_token()
