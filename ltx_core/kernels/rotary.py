"""Rotary position embedding of queries and keys: what a table of angles holds, and how heads are rotated by it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Rotation:
    """cos and sin of the angle of every pair of channels, float32, broadcast to (B, H, T, D/2)."""

    cos: Tensor
    sin: Tensor


@dataclass(frozen=True)
class RotaryTable:
    """Angles of tokens, kept once for each distinct position of each axis: tokens share most of their coordinates.

    cos, sin: (P, K) float32, K frequencies of every position; index: (T, axes) int32, the positions of every token.
    A token's width/2 pairs are zero angles in front, then frequencies as the slow index and axes as the fast one.
    """

    cos: Tensor
    sin: Tensor
    index: Tensor
    width: int
    heads: int

    @property
    def padding(self) -> int:
        return self.width // 2 - self.cos.shape[1] * self.index.shape[1]

    @cached_property
    def rotation(self) -> Rotation:
        """Spread out to (1, H, T, D/2); consecutive angles go to consecutive heads."""
        return Rotation(self._spread(self.cos, 1.0), self._spread(self.sin, 0.0))

    def _spread(self, rows: Tensor, padding: float) -> Tensor:
        pairs = F.pad(rows[self.index].transpose(1, 2).flatten(1), (self.padding, 0), value=padding)
        return pairs.unflatten(1, (self.heads, -1)).transpose(0, 1)[None]


def apply_rotary(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates the halves [a | b] of each head: a' = a cos - b sin, b' = b cos + a sin.  x: (B, H, T, D)."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = rotation.cos, rotation.sin
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
