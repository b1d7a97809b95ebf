"""What is seen in a clip."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from ..world.palette import COLOURS
from ..world.scenes import FPS
from .backdrop import coverage, fit_background, paint_of
from .movement import bounces_of, motion_of
from .outline import harmonics, shape_of, turn_of

WORKING = 128  # pixels: larger pictures are averaged down to about this
LEAST = 0.002  # of the picture: smaller areas are not taken for a shape
NEAR = 0.06  # of the picture: so near to the shape nothing is called background
WINDOW = 2.0  # radii of the disc of equal area, around the centre, in which the shape is looked for
CORE = 0.6  # radii of that disc: inside, a shape is solid
SOLID = 0.7  # the least coverage there
ALONE = 0.5  # the least share of all that is covered, for a shape


@dataclass(frozen=True)
class Seen:
    """colour, shape, motion: the world's words, or None where nothing is seen or nothing fits."""

    colour: str | None
    shape: str | None
    motion: str | None
    centres: Tensor  # (F, 2): x, y in 0..1, y downwards; where no shape is seen, as in the frame before
    areas: Tensor  # (F,): in picture areas; 0 where no shape is seen
    background: Tensor  # (F, H, W) bool: clear of the shape and its soft border
    turn: float  # degrees a second, clockwise
    bounces: list[float]  # seconds after the first frame


def seen(video: Tensor) -> Seen:
    """What a clip (F, H, W, 3), float in 0..1, 24 fps, shows."""
    frames, height, width = video.shape[:3]
    small = _shrink(video.float())
    background = fit_background(small)
    paint = paint_of(small, background)
    nothing = torch.zeros(frames, device=video.device)
    if paint is None:
        clear = torch.ones(frames, height, width, dtype=torch.bool, device=video.device)
        return Seen(None, None, None, nothing[:, None].expand(-1, 2) + 0.5, nothing, clear, 0.0, [])
    cover, centres, areas = _find(coverage(small, background, paint))
    found = areas > LEAST
    clear = _clear(cover, height, width)
    if found.float().mean() < 0.5:
        return Seen(None, None, None, centres, areas, clear, 0.0, [])
    profile = harmonics(cover[found], centres[found], areas[found])
    shape = shape_of(profile)
    turn = turn_of(profile, shape)
    return Seen(
        _colour_of(paint),
        shape,
        motion_of(centres[found], areas[found], turn),
        _held(centres, found),
        areas,
        clear,
        turn * FPS,
        [frame / FPS for frame in bounces_of(_held(centres, found)[:, 1])],
    )


def _shrink(video: Tensor) -> Tensor:
    factor = max(1, min(video.shape[1:3]) // WORKING)
    return avg_pool2d(video.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


def _find(cover: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coverage of the shape alone (F, H, W), its centres (F, 2) in 0..1 and areas (F,).

    Each frame starts at the median of what is covered and looks only around the centre, so that a stain elsewhere
    does not draw it away.  An area is 0 where what is covered is scattered: no shape, but noise.
    """
    height, width = cover.shape[1:]
    x = (torch.arange(width, device=cover.device) + 0.5) / width
    y = (torch.arange(height, device=cover.device) + 0.5) / height
    centres = torch.stack((_median(cover.sum(dim=1), x), _median(cover.sum(dim=2), y)), dim=1)
    inside = cover
    for _ in range(3):
        areas, away = inside.mean(dim=(1, 2)), _distance(x, y, centres)
        inside = cover * (away < WINDOW * _radius(areas, cover))
        total = inside.sum(dim=(1, 2)).clamp(min=1e-6)
        centres = torch.stack(((inside.sum(dim=1) @ x) / total, (inside.sum(dim=2) @ y) / total), dim=1)
    areas = inside.mean(dim=(1, 2))
    core = _distance(x, y, centres) < CORE * _radius(areas, cover)
    solid = (cover * core).sum(dim=(1, 2)) > SOLID * core.sum(dim=(1, 2))
    alone = areas > ALONE * cover.mean(dim=(1, 2))
    return inside, centres, areas * (solid & alone)


def _distance(x: Tensor, y: Tensor, centres: Tensor) -> Tensor:
    """(F, H, W): from the centres (F, 2), in picture heights."""
    wide = len(x) / len(y)
    return torch.hypot((x - centres[:, :1])[:, None, :] * wide, (y - centres[:, 1:])[:, :, None])


def _radius(areas: Tensor, cover: Tensor) -> Tensor:
    """(F, 1, 1): of the disc of equal area, in picture heights; never so small that nothing is found again."""
    wide = cover.shape[2] / cover.shape[1]
    return torch.sqrt(areas * wide / pi).clamp(min=NEAR / 2)[:, None, None]


def _median(weights: Tensor, places: Tensor) -> Tensor:
    """(F,): the place (N,) at which half of the weight (F, N) is reached."""
    share = weights.cumsum(dim=1)
    return places[(share < share[:, -1:] / 2).sum(dim=1).clamp(max=len(places) - 1)]


def _held(centres: Tensor, found: Tensor) -> Tensor:
    """Centres with those of frames without a shape replaced by the last one found (the first one, at the start)."""
    frames = torch.arange(len(found), device=found.device)
    last = torch.where(found, frames, -1).cummax(dim=0).values
    return centres[torch.where(last < 0, found.int().argmax(), last)]


def _clear(cover: Tensor, height: int, width: int) -> Tensor:
    border = int(NEAR * min(cover.shape[1:]))
    near = max_pool2d((cover > 0).float()[:, None], (1, 2 * border + 1), 1, (0, border))
    near = max_pool2d(near, (2 * border + 1, 1), 1, (border, 0))
    return interpolate(near, (height, width))[:, 0] == 0


def _colour_of(paint: Tensor) -> str:
    known = torch.tensor(list(COLOURS.values()), device=paint.device)
    return list(COLOURS)[int((known - paint).norm(dim=1).argmin())]
