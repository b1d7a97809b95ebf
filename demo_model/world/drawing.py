"""Draws scenes: anti-aliased by the distance from the outline, whole batches of clips at once, on any device."""

from math import atan2, cos, pi, sin

import torch
from torch import Tensor

from .motion import Track, track
from .palette import BACKGROUNDS, COLOURS
from .scenes import FPS, FRAMES, SHAPES, Scene

CHUNK = 2**25  # pixels of one chunk's clips: bounds the memory of the intermediate tensors


def render(scenes: list[Scene], height: int, width: int, frames: int = FRAMES, device="cpu") -> Tensor:
    """(B, 3, F, H, W) float32 in [-1, 1], the first `frames` frames at 24 fps.  ValueError for more than 33."""
    if not 1 <= frames <= FRAMES:
        raise ValueError(f"{frames} frames: a scene lasts {FRAMES}")
    clips = torch.empty(len(scenes), 3, frames, height, width, device=device)
    step = max(1, CHUNK // (frames * height * width))
    for start in range(0, len(scenes), step):
        _render(scenes[start : start + step], clips[start : start + step])
    return clips


def _render(scenes: list[Scene], clips: Tensor) -> None:
    frames = clips.shape[2]
    path = track(scenes, torch.arange(frames, device=clips.device) / FPS)
    ground = _backgrounds(scenes, clips).unsqueeze(2)
    paint = torch.tensor([COLOURS[scene.colour] for scene in scenes], device=clips.device) * 2 - 1
    cover = _coverage(scenes, path, *clips.shape[3:])
    torch.lerp(ground, paint[..., None, None, None], cover.unsqueeze(1), out=clips)


def _backgrounds(scenes: list[Scene], clips: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1]."""
    height, width = clips.shape[3:]
    runs = [BACKGROUNDS[scene.background] for scene in scenes]
    first, last = torch.tensor([run[1:] for run in runs], device=clips.device)[..., None, None].unbind(1)
    across = torch.tensor([run[0] == "horizontal" for run in runs], device=clips.device)[:, None, None, None]
    share = torch.where(across, _centres(width, clips), _centres(height, clips)[:, None])
    return torch.lerp(first, last, share) * 2 - 1


def _centres(pixels: int, like: Tensor) -> Tensor:
    return (torch.arange(pixels, device=like.device) + 0.5) / pixels


def _coverage(scenes: list[Scene], path: Track, height: int, width: int) -> Tensor:
    """(B, F, H, W): how much of each pixel the shape covers.

    A point is folded into the sector between a tip (angle 0) and the notch beside it; there the outline is one line,
    whose distance is `distance to the centre * cos(angle - normal) - offset`.
    """
    rows = [_outline(scene) for scene in scenes]
    sector, normal, offset, turn = torch.tensor(rows, device=path.x.device).T[..., None, None, None]
    x, y, radius, angle = (value[..., None, None] for value in (path.x, path.y, path.radius, path.angle))
    dx = (_centres(width, path.x) - x) * (width / height)
    dy = _centres(height, path.x)[:, None] - y
    upright = torch.atan2(dx, -dy)  # clockwise from upright
    fold = upright.sub_(torch.deg2rad(angle) + turn - sector / 2).remainder_(sector).sub_(sector / 2).abs_()
    line = fold.sub_(normal).cos_().mul_(torch.hypot(dx, dy)).sub_(radius * offset)
    return line.mul_(-height).add_(0.5).clamp_(0, 1)


def _outline(scene: Scene) -> tuple[float, float, float, float]:
    """Sector and direction of the outline's normal in it (radians), its offset (radii), turn of a tip (radians)."""
    outline = SHAPES[scene.shape]
    half = pi / outline.corners
    normal = atan2(1 - outline.notch * cos(half), outline.notch * sin(half))
    return 2 * half, normal, outline.reach * cos(normal), outline.turn * pi / 180
