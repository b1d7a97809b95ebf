"""Plain measurements of clips (F, H, W, 3) in 0..1 and waveforms, beyond what the detectors say."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ltx_duo.demo_model.detectors import Heard, Seen, seen
from ltx_duo.demo_model.detectors.backdrop import coverage, fit_background, paint_of
from ltx_duo.demo_model.detectors.hearing import HOP
from ltx_duo.demo_model.world.scenes import FPS

CLICK_FRAMES = 2  # how far a click may lie from its bounce


def psnr(clip: Tensor, reference: Tensor, where: Tensor | None = None) -> float:
    """dB, peak 1; `where` (F, H, W) selects pixels.  Minus infinity if it selects none, or for NaN."""
    square = (clip - reference).square()
    error = (square if where is None else square[where]).mean(dtype=torch.float64)
    return float(-10 * error.clamp(min=1e-10).log10()) if error.isfinite() else float("-inf")


def edge_sharpness(clip: Tensor) -> float:
    """Steepness of the shape's edge: 1 / its width in pixels of the clip.  0 where nothing stands out.

    Along an edge that is w pixels wide the shape's coverage changes by 1 / w a pixel: the sum of squared changes over
    the sum of changes.
    """
    background = fit_background(clip)
    paint = paint_of(clip, background)
    if paint is None:
        return 0.0
    cover = coverage(clip, background, paint)
    down = cover.diff(dim=1)[:, :, :-1]
    across = cover.diff(dim=2)[:, :-1]
    change = torch.hypot(down, across)
    return float(change.square().sum() / change.sum())


def in_step(bounces: list[float], clicks: list[float], expected: int) -> float:
    """Share of bounces (seconds) with a click of their own near; bounces or clicks too many or too few lower it."""
    left = list(clicks)
    together = 0
    for bounce in bounces:
        near = [click for click in left if abs(click - bounce) <= CLICK_FRAMES / FPS]
        if near:
            left.remove(min(near, key=lambda click: abs(click - bounce)))
            together += 1
    return together / max(expected, len(bounces), len(clicks))


def loudness_follows_size(seen: Seen, heard: Heard) -> float:
    """Correlation of the sound's loudness with the shape's radius over the clip, its first and last tenth left out."""
    loudness = _per_frame(heard.loudness, len(seen.areas))
    inner = slice(len(loudness) // 10 + 1, -(len(loudness) // 10) - 1)
    return correlation(loudness[inner], seen.areas.sqrt()[inner])


def correlation(first: Tensor, second: Tensor) -> float:
    """0 if one of them does not change."""
    first, second = first.double() - first.double().mean(), second.double() - second.double().mean()
    size = first.norm() * second.norm()
    return float(first @ second / size) if size > 1e-9 else 0.0


def colours_of(clip: Tensor, parts: Sequence[slice]) -> list[str | None]:
    """The colour that is seen in each of the parts, in frames, of a clip."""
    return [seen(clip[part]).colour for part in parts]


def strayed(clip: Tensor, reference: Tensor, part: slice) -> float:
    """How far the shape is at most from where another clip has it, in picture heights, in `part`, in frames."""
    ways = [seen(film).centres[part] for film in (clip, reference)]
    return float((ways[0] - ways[1]).norm(dim=1).max())


def least_level(heard: Heard, moment: float) -> float:
    """The least loudness in the quarter of a second around `moment` (seconds) over the usual one before that."""
    first, last = (round((moment + side) / HOP) for side in (-0.125, 0.125))
    return float(heard.loudness[first:last].min() / heard.loudness[:first].median().clamp(min=1e-6))


def _per_frame(values: Tensor, frames: int) -> Tensor:
    return interpolate(values[None, None].float(), size=frames, mode="linear", align_corners=True)[0, 0]
