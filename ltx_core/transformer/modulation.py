"""Adaptive layer norm: shifts, scales and gates that depend on the diffusion time.

Most tokens share one timestep, so modulation is kept once per distinct timestep and looked up per token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.norm import TokenIndex, TokenVector

_FREQUENCIES = 128


def timestep_embedding(t: Tensor) -> Tensor:
    """Sinusoids (N, 256) float32 of timesteps t (N,): 128 cosines, then 128 sines."""
    exponents = torch.arange(_FREQUENCIES, dtype=torch.float32, device=t.device) / _FREQUENCIES
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class TimestepEmbedder(nn.Module):
    """Sinusoids (N, 256) of `timestep_embedding` -> (N, width)."""

    def __init__(self, width: int, *, ops, dtype, device):
        super().__init__()
        self.linear_1 = ops.Linear(2 * _FREQUENCIES, width, dtype=dtype, device=device)
        self.linear_2 = ops.Linear(width, width, dtype=dtype, device=device)

    def forward(self, sinusoids: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(sinusoids)))


class _Embedding(nn.Module):
    def __init__(self, width: int, *, ops, dtype, device):
        super().__init__()
        self.timestep_embedder = TimestepEmbedder(width, ops=ops, dtype=dtype, device=device)


class AdaLayerNormSingle(nn.Module):
    """Timesteps (N,), already scaled -> modulation (N, count, width) and the embedded timestep (N, width)."""

    def __init__(self, width: int, count: int, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.count = count
        self.emb = _Embedding(width, ops=ops, dtype=dtype, device=device)
        self.linear = ops.Linear(width, count * width, dtype=dtype, device=device)

    def forward(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        embedded = self.emb.timestep_embedder(timestep_embedding(t).to(dtype))
        return self.linear(F.silu(embedded)).unflatten(-1, (self.count, -1)), embedded


@dataclass(frozen=True)
class Modulation:
    """Modulation vectors (N, count, width) for each distinct timestep, looked up by token through `index` (B, T)."""

    values: Tensor
    index: Tensor | TokenIndex | None

    def vectors(self, table: Tensor) -> tuple[TokenVector, ...]:
        """The vectors, each plus its own of a learned table (count, width)."""
        return tuple(TokenVector(vector, self.index) for vector in (table.to(self.values) + self.values).unbind(1))


@dataclass(frozen=True)
class TokenTimesteps:
    """The distinct timesteps (N,) of a modality and which one each token has, (B, T); None when there is only one."""

    values: Tensor
    index: Tensor | TokenIndex | None

    @classmethod
    def of(cls, timesteps: "Tensor | TokenTimesteps") -> "TokenTimesteps":
        if isinstance(timesteps, TokenTimesteps):
            return timesteps
        values, index = torch.unique(timesteps, return_inverse=True)
        return cls(values, None if len(values) == 1 else index)

    def by_token(self, values: Tensor) -> Modulation:
        """Modulation by vectors (N, count, width), one set for each distinct timestep."""
        return Modulation(values, self.index)

    def by_sample(self, values: Tensor, tokens: int) -> Modulation:
        """Modulation by vectors (B, count, width), one set for each sample of so many tokens."""
        if values.shape[0] == 1:
            return Modulation(values, None)
        samples = torch.arange(values.shape[0], device=values.device)
        return Modulation(values, samples[:, None].repeat(1, tokens))


@dataclass(frozen=True)
class ShiftScaleGate:
    """What modulates a part of a block: its normalised input by shift and scale, its output by the gate."""

    shift: TokenVector
    scale: TokenVector
    gate: TokenVector


@dataclass(frozen=True)
class BlockModulation:
    """A stream's modulation in one block; text attention has none in LTX-2.0."""

    self_attention: ShiftScaleGate
    feed_forward: ShiftScaleGate
    text_attention: ShiftScaleGate | None

    @classmethod
    def of(cls, modulation: Modulation, table: Tensor) -> "BlockModulation":
        """In the order of the files: (9 or 6, width), shift, scale and gate of each part."""
        vectors = modulation.vectors(table)
        text = ShiftScaleGate(*vectors[6:]) if len(vectors) > 6 else None
        return cls(ShiftScaleGate(*vectors[:3]), ShiftScaleGate(*vectors[3:6]), text)
