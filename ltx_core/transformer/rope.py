"""Rotary position embedding of LTX-2: fractional positions, a float64 frequency grid, rotation of split halves.

Video tokens are rotated by time (seconds), height and width (pixels), audio tokens by time alone; every axis is first
divided by the largest position the model was trained with.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RotaryTable:
    """cos and sin of the angles of every token: (B or 1, H, T, D/2) float32 each."""

    cos: Tensor
    sin: Tensor


def rope_frequencies(
    theta: float, count: int, device: torch.device | str | None = None, *, float64: bool = True
) -> Tensor:
    """`count` frequencies (pi/2) * theta^(k / (count - 1)), float32 (count,); the grid is computed in float64."""
    exponents = torch.linspace(0.0, 1.0, count, dtype=torch.float64 if float64 else torch.float32, device=device)
    return (theta**exponents * (math.pi / 2)).to(torch.float32)


def rope_angles(
    positions: Tensor, max_positions: tuple[float, ...], width: int, theta: float, *, float64: bool = True
) -> Tensor:
    """Angles (B, T, width/2) float32 of tokens at `positions` (B, axes, T).

    Frequencies are the slow index and axes the fast one; where width/2 is not a multiple of the number of axes the
    row is padded with zero angles (no rotation) at its front.
    """
    axes = len(max_positions)
    count = width // (2 * axes)
    limits = torch.tensor(max_positions, dtype=torch.float32, device=positions.device)
    fractions = positions.to(torch.float32) / limits[:, None]
    frequencies = rope_frequencies(theta, count, positions.device, float64=float64)
    angles = (2 * fractions - 1).movedim(1, -1)[:, :, None, :] * frequencies[:, None]
    return torch.nn.functional.pad(angles.flatten(2), (width // 2 - count * axes, 0))


def rotary_table(
    positions: Tensor,
    max_positions: tuple[float, ...],
    width: int,
    heads: int,
    theta: float,
    *,
    float64: bool = True,
) -> RotaryTable:
    """The table for `heads` heads that share `width` channels; consecutive angles go to consecutive heads."""
    angles = rope_angles(positions, max_positions, width, theta, float64=float64)
    batch, tokens, _ = angles.shape
    angles = angles.contiguous().view(batch, tokens, heads, -1).transpose(1, 2)
    return RotaryTable(angles.cos(), angles.sin())


def interval_middles(bounds: Tensor) -> Tensor:
    """Middles (B, axes, T) of the [start, end) intervals (B, axes, T, 2) that tokens cover."""
    return bounds.to(torch.float32).mean(dim=-1)


def apply_rotary(x: Tensor, table: RotaryTable) -> Tensor:
    """Rotates the halves [a | b] of each head: a' = a cos - b sin, b' = b cos + a sin.  x: (B, H, T, D)."""
    first, second = x.float().chunk(2, dim=-1)
    rotated = torch.cat((first * table.cos - second * table.sin, second * table.cos + first * table.sin), dim=-1)
    return rotated.to(x.dtype)
