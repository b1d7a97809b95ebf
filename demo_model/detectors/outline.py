"""The shape by its outline: how often the polar profile repeats in a turn tells corners, its phase tells the turn."""

from math import pi

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

BY_CORNERS = {3: "triangle", 4: "square", 5: "star"}
CORNERED = 0.06  # the least share of the mean in a cornered shape's profile
ANGLES, RADII = 96, 40
REACH = 1.9  # radii of the disc of equal area; the tips of a star lie at 1.6


def harmonics(cover: Tensor, centres: Tensor, areas: Tensor) -> Tensor:
    """(F, 6) complex: the polar profile's Fourier coefficients 0..5, as shares of the first.

    cover (F, H, W) in 0..1; centres (F, 2) as x, y in 0..1; areas (F,) in picture areas.
    """
    height, width = cover.shape[1:]
    angle = torch.arange(ANGLES, device=cover.device) * (2 * pi / ANGLES)  # clockwise from upright
    step = (torch.arange(RADII, device=cover.device) + 0.5) / RADII
    reach = REACH * torch.sqrt(areas * height * width / pi)[:, None, None] * step
    x = centres[:, 0, None, None] * 2 - 1 + reach * angle.sin()[:, None] * (2 / width)
    y = centres[:, 1, None, None] * 2 - 1 - reach * angle.cos()[:, None] * (2 / height)
    polar = grid_sample(cover[:, None], torch.stack((x, y), dim=-1), align_corners=False)[:, 0]
    profile = torch.fft.fft((polar * step).sum(dim=-1), dim=-1)[:, :6]
    return profile / profile[:, :1].abs().clamp(min=1e-6)


def shape_of(profile: Tensor) -> str | None:
    """The shape of most of the frames' profiles (F, 6); None for one that is lopsided or longish."""
    strength = profile.abs().median(dim=0).values
    corners = int(strength[1:].argmax()) + 1
    if strength[corners] < CORNERED:
        return "circle"
    return BY_CORNERS.get(corners)


def turn_of(profile: Tensor, shape: str | None) -> float:
    """Degrees a frame, clockwise; 0 for a shape without corners."""
    corners = next((number for number, name in BY_CORNERS.items() if name == shape), None)
    if corners is None or len(profile) < 2:
        return 0.0
    waves = profile[:, corners]
    step = (waves[:-1] * waves[1:].conj()).sum()
    return float(torch.rad2deg(step.angle())) / corners
