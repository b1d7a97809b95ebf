"""Timesteps that are known beforehand: each sample's tokens in a few runs of one timestep each.

Inference looks modulation up by token; in training the gradient of such a lookup would be slow, that of a run is a sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.transformer.modulation import Modulation, TokenTimesteps


@dataclass(frozen=True)
class Runs:
    """An index (the engine's `TokenIndex`): one vector for each run, sample by sample, of `lengths` tokens."""

    lengths: tuple[int, ...]

    def spread(self, values: Tensor) -> Tensor:
        """(B * runs, D), or (B, D) for a single run -> (B, T, D), T tokens of all runs together."""
        runs = values.unflatten(0, (-1, len(self.lengths))).split(1, dim=1)
        return torch.cat([run.expand(-1, length, -1) for run, length in zip(runs, self.lengths, strict=True)], dim=1)


@dataclass(frozen=True)
class RunTimesteps(TokenTimesteps):
    """Timesteps (B * runs,) of the runs of every sample."""

    index: Runs

    @classmethod
    def of_runs(cls, timesteps: Tensor, *lengths: int) -> "RunTimesteps":
        return cls(timesteps, Runs(lengths))

    def by_sample(self, values: Tensor, tokens: int) -> Modulation:
        return Modulation(values, Runs((tokens,)))


@dataclass(frozen=True)
class Chosen:
    """An index: of two vectors for each sample the first, or where `mask` (B, T) is True the second."""

    mask: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """(B * 2, D) -> (B, T, D)."""
        low, high = values.unflatten(0, (-1, 2)).unbind(1)
        return torch.where(self.mask[..., None], high[:, None], low[:, None])


@dataclass(frozen=True)
class ChosenTimesteps(TokenTimesteps):
    """Two timesteps of every sample, (B * 2,)."""

    index: Chosen

    @classmethod
    def of_mask(cls, levels: Tensor, mask: Tensor) -> "ChosenTimesteps":
        """levels (B, 2): where the mask (B, T) is False, and where it is True."""
        return cls(levels.flatten(), Chosen(mask))

    def by_sample(self, values: Tensor, tokens: int) -> Modulation:
        return Modulation(values, Runs((tokens,)))
