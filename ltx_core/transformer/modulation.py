"""Adaptive layer norm: shifts, scales and gates that depend on the diffusion time.

Most tokens share one timestep, so modulation is kept once per distinct timestep and looked up per token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.norm import Runs, TokenRow

_FREQUENCIES = 128


def timestep_embedding(t: Tensor) -> Tensor:
    """Sinusoids (N, 256) float32 of timesteps t (N,): 128 cosines, then 128 sines."""
    exponents = torch.arange(_FREQUENCIES, dtype=torch.float32, device=t.device) / _FREQUENCIES
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class _TimestepEmbedder(nn.Module):
    def __init__(self, width: int, *, ops, dtype, device):
        super().__init__()
        self.linear_1 = ops.Linear(2 * _FREQUENCIES, width, dtype=dtype, device=device)
        self.linear_2 = ops.Linear(width, width, dtype=dtype, device=device)

    def forward(self, sinusoids: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(sinusoids)))


class _Embedding(nn.Module):
    def __init__(self, width: int, *, ops, dtype, device):
        super().__init__()
        self.timestep_embedder = _TimestepEmbedder(width, ops=ops, dtype=dtype, device=device)


class AdaLayerNormSingle(nn.Module):
    """Timesteps (N,), already scaled -> modulation (N, rows, width) and the embedded timestep (N, width)."""

    def __init__(self, width: int, rows: int, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.rows = rows
        self.emb = _Embedding(width, ops=ops, dtype=dtype, device=device)
        self.linear = ops.Linear(width, rows * width, dtype=dtype, device=device)

    def forward(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        embedded = self.emb.timestep_embedder(timestep_embedding(t).to(dtype))
        return self.linear(F.silu(embedded)).unflatten(-1, (self.rows, -1)), embedded


@dataclass(frozen=True)
class TokenTimesteps:
    """The distinct timesteps (N,) of a modality and which one each token has, (B, T); None when there is only one."""

    values: Tensor
    index: Tensor | Runs | None

    @classmethod
    def of(cls, timesteps: "Tensor | TokenTimesteps") -> "TokenTimesteps":
        if isinstance(timesteps, cls):
            return timesteps
        values, index = torch.unique(timesteps, return_inverse=True)
        return cls(values, None if len(values) == 1 else index)


@dataclass(frozen=True)
class Modulation:
    """Modulation rows (N, rows, width) for each distinct timestep, looked up by token through `index` (B, T)."""

    values: Tensor
    index: Tensor | Runs | None

    def rows(self, table: Tensor) -> tuple[TokenRow, ...]:
        """The rows, each plus its own of a learned table (rows, width)."""
        return tuple(TokenRow(row, self.index) for row in (table.to(self.values) + self.values).unbind(1))
