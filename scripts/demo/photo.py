"""Draws a picture that looks like a photograph, for when the user brings none: a mountain lake at sunset."""

from pathlib import Path

import numpy as np
from PIL import Image

HORIZON = 0.58
SUN = (0.68, 0.27)


def draw(target: Path, width: int = 1536, height: int = 1024, seed: int = 7) -> Path:
    """Writes a PNG of the given size."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    land = _sky(rng, x, y)
    for base, roughness, colour, haze in (
        (0.44, 0.20, (0.42, 0.37, 0.45), 0.55),
        (0.51, 0.14, (0.24, 0.22, 0.28), 0.30),
        (0.56, 0.07, (0.09, 0.11, 0.12), 0.05),
    ):
        land = _ridge(rng, land, x, y, base, roughness, np.array(colour), haze)
    picture = _lake(rng, land, y, int(HORIZON * height))
    vignette = 1 - 0.55 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    grain = rng.normal(0, 0.012, (height, width, 1))
    picture = np.clip(picture * vignette[..., None] + grain, 0, 1)
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(target)
    return target


def _noise(rng: np.random.Generator, width: int, height: int, cells: int, octaves: int = 5) -> np.ndarray:
    """Fractal noise (height, width) in 0..1: random grids, each finer and fainter, smoothly enlarged."""
    total = np.zeros((height, width))
    for octave in range(octaves):
        rows, columns = max(2, cells * 2**octave * height // width), cells * 2**octave
        grid = Image.fromarray(rng.random((rows, columns)).astype(np.float32))
        total += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)) * 0.5**octave
    return (total - total.min()) / (total.max() - total.min())


def _sky(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = x.shape
    up = np.clip(1 - y / HORIZON, 0, 1)[..., None]
    sky = np.array([1.0, 0.63, 0.36]) * (1 - up) + np.array([0.22, 0.36, 0.62]) * up
    clouds = np.clip(_noise(rng, width, height, 4)[..., None] * 2.2 - 1.1, 0, 1) * (0.3 + 0.7 * up)
    sky = sky * (1 - 0.5 * clouds) + np.array([1.0, 0.76, 0.62]) * 0.5 * clouds
    distance = np.hypot((x - SUN[0]) * width / height, y - SUN[1])
    glow = np.exp(-distance / 0.16) * 0.55 + (distance < 0.035) * 0.6
    return sky + glow[..., None] * np.array([1.0, 0.85, 0.6])


def _ridge(rng, picture, x, y, base, roughness, colour, haze) -> np.ndarray:
    """Lays a mountain ridge before `picture`; `haze` mixes the sky's evening colour into it."""
    height, width = x.shape
    skyline = base - roughness * (_noise(rng, width, 4, 3, octaves=7)[0] - 0.35)
    below = np.clip((y - skyline[None, :]) * height / 1.5, 0, 1)[..., None]
    rock = colour * (0.75 + 0.5 * _noise(rng, width, height, 24)[..., None])
    rock = rock * (1 - haze) + np.array([0.95, 0.62, 0.42]) * haze
    return picture * (1 - below) + rock * below


def _lake(rng: np.random.Generator, land: np.ndarray, y: np.ndarray, shore: int) -> np.ndarray:
    """Replaces everything below row `shore` by a rippled reflection of what is above it."""
    height, width, _ = land.shape
    depth = np.arange(height - shore)
    ripple = _noise(rng, width, height - shore, 60, octaves=3) - 0.5
    sway = (ripple * (2 + 0.10 * depth[:, None])).astype(int)
    rows = np.clip(shore - 1 - (depth[:, None] * 1.25).astype(int) - sway, 0, shore - 1)
    columns = np.clip(np.arange(width)[None, :] + sway * 2, 0, width - 1)
    water = land[rows, columns] * np.array([0.62, 0.68, 0.76]) + 0.10 * np.clip(ripple, 0, 1)[..., None]
    return np.concatenate([land[:shore], water])
