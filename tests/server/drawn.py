"""Films of the drawn world, in the place of films that the trained model makes; what is seen and heard of either."""

from pathlib import Path

import numpy as np
import torch

from ltx_duo.demo_model import write_given
from ltx_duo.demo_model.detectors import heard, seen
from ltx_duo.demo_model.world import Scene
from ltx_duo.demo_model.world.scenes import FRAMES
from ltx_duo.demo_model.write_given import pixels_of, sound_of
from ltx_duo.scripts.demo import media

STAR = Scene(shape="star", colour="red", background="grey", motion="left", size="large", x=0.7, y=0.5, angle=0.0)
SQUARE = Scene(shape="square", colour="blue", background="grey", motion="right", size="large", x=0.3, y=0.5, angle=0.0)


def save_film(scene: Scene, path: Path, size: int = 128, frames: int = FRAMES, width: int | None = None) -> Path:
    """The drawn clip as ComfyUI would save it, square unless `width` is given."""
    return write_given.save_film(path, pixels_of(scene, size, frames, width), sound_of(scene, frames))


def save_painted(scene: Scene, path: Path, box: tuple[int, int, int, int], size: int = 128) -> Path:
    """The first frame as ComfyUI's mask editor leaves it: what is painted, (left, top, right, bottom), is clear."""
    return write_given.save_painted(path, pixels_of(scene, size, 1)[0], box)


def words(path: Path) -> tuple[str | None, ...]:
    """Colour, shape, motion that are seen, and the shape that is heard."""
    frames = np.stack([np.asarray(frame) for frame in media.read_frames(path)])
    picture = seen(torch.from_numpy(frames).float() / 255)
    waveform, rate = media.read_sound(path)
    return picture.colour, picture.shape, picture.motion, heard(torch.from_numpy(waveform), rate).shape
