"""Where the shape is, how large and how turned, at any time of a clip."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from .scenes import DIRECTIONS, FPS, FRAMES, GRAVITY, GROWTH, RESTITUTION, SIZES, SPEED, SPIN, Scene, floor

BOUNCES = 2  # in a clip of 33 frames


@dataclass(frozen=True)
class Track:
    """Centre in 0..1 (y downwards), radius in picture heights, turn in degrees clockwise; each (B, T)."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor


def bounce_times(scene: Scene) -> list[float]:
    """Seconds after the first frame at which the shape hits the floor, within a clip of 33 frames."""
    if scene.motion != "bouncing":
        return []
    fall = sqrt(2 * (floor(scene) - scene.y) / GRAVITY)
    times = [fall * (1 + 2 * sum(RESTITUTION**n for n in range(1, bounce + 1))) for bounce in range(BOUNCES)]
    return [time for time in times if time < FRAMES / FPS]


def track(scenes: list[Scene], times: Tensor) -> Track:
    """`times` (T,): seconds after the first frame, up to a clip's length; the result lies on its device."""
    rows = [
        (
            scene.x,
            scene.y,
            SIZES[scene.size],
            scene.angle,
            *DIRECTIONS.get(scene.motion, (0, 0)),
            scene.motion == "growing",
            scene.motion == "rotating",
            scene.motion == "bouncing",
            floor(scene),
        )
        for scene in scenes
    ]
    columns = torch.tensor(rows, dtype=torch.float32, device=times.device).T[..., None]
    x, y, radius, angle, right, down, grows, turns, bounces, ground = columns
    return Track(
        x + right * SPEED * times,
        torch.where(bounces > 0, ground - _height(ground - y, times), y + down * SPEED * times),
        radius * (1 + grows * GROWTH * times),
        angle + turns * SPIN * times,
    )


def _height(drop: Tensor, times: Tensor) -> Tensor:
    """Height above the floor after a fall from `drop` (B, 1): of the fall and each arc, the one that is above it."""
    start = torch.sqrt(2 * drop.clamp(min=0) / GRAVITY)
    speed = GRAVITY * start
    height = (drop - GRAVITY / 2 * times**2).clamp(min=0)
    for _ in range(BOUNCES):
        speed = speed * RESTITUTION
        since = times - start
        height = torch.maximum(height, speed * since - GRAVITY / 2 * since**2)
        start = start + 2 * speed / GRAVITY
    return height
