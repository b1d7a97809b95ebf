"""Rotary positions of LTX-2: fractional, on a frequency grid of float64.

Video tokens are rotated by time (seconds), height and width (pixels), audio tokens by time alone; every axis is first
divided by the largest position the model was trained with.
"""

import math

import torch
from torch import Tensor

from ..kernels.rotary import RotaryTable
from ..progress import SILENT, Reporter

# Positions that are sorted at once: between, the caller may cancel.
_MOST_SORTED = 2**20


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
