"""Rotary position embedding of LTX-2: fractional positions, a float64 frequency grid, rotation of split halves.

Video tokens are rotated by time (seconds), height and width (pixels), audio tokens by time alone; every axis is first
divided by the largest position the model was trained with.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ..progress import SILENT, Reporter

# Positions that are sorted at once: between, the caller may cancel.
_MOST_SORTED = 2**20


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


def rope_frequencies(
    theta: float, count: int, device: torch.device | str | None = None, *, float64: bool = True
) -> Tensor:
    """`count` frequencies (pi/2) * theta^(k / (count - 1)), float32 (count,); the grid is computed in float64."""
    exponents = torch.linspace(0.0, 1.0, count, dtype=torch.float64 if float64 else torch.float32, device=device)
    return (theta**exponents * (math.pi / 2)).to(torch.float32)


def rotary_table(
    positions: Tensor,
    max_positions: tuple[float, ...],
    width: int,
    heads: int,
    theta: float,
    *,
    float64: bool = True,
    reporter: Reporter = SILENT,
) -> RotaryTable:
    """The table of tokens at `positions` (axes, T) for `heads` heads that share `width` channels."""
    count = width // (2 * len(max_positions))
    frequencies = rope_frequencies(theta, count, positions.device, float64=float64)
    angles, index, first = [], [], 0
    for own, limit in zip(positions.to(torch.float32), max_positions, strict=True):
        distinct, place = _distinct(own, reporter)
        angles.append((2 * (distinct / limit) - 1)[:, None] * frequencies)
        index.append(place + first)
        first += len(distinct)
    joined = torch.cat(angles)
    return RotaryTable(joined.cos(), joined.sin(), torch.stack(index, dim=1).to(torch.int32), width, heads)


def _distinct(values: Tensor, reporter: Reporter) -> tuple[Tensor, Tensor]:
    """The distinct values in order, and the place among them of each value (T,)."""
    found = []
    for piece in values.split(_MOST_SORTED):
        reporter.check_cancel()
        found.append(torch.unique(piece))
    distinct, places = torch.unique(torch.cat(found)), []
    for piece in values.split(_MOST_SORTED):
        reporter.check_cancel()
        places.append(torch.searchsorted(distinct, piece))
    return distinct, torch.cat(places)


def interval_middles(bounds: Tensor) -> Tensor:
    """Middles (..., T) of the [start, end) intervals (..., T, 2) that tokens cover."""
    return bounds.to(torch.float32).mean(dim=-1)


def apply_rotary(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates the halves [a | b] of each head: a' = a cos - b sin, b' = b cos + a sin.  x: (B, H, T, D)."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = rotation.cos, rotation.sin
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
