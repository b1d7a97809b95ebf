"""Sizes: what the pixels of one stage mean in latents, tokens and positions."""

import math
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from ..errors import GeometryError

VIDEO_CHANNELS = 128
AUDIO_CHANNELS = 8
AUDIO_BINS = 16
SPATIAL_FACTOR = 32
TEMPORAL_FACTOR = 8
AUDIO_LATENTS_PER_SECOND = 25.0
LOWEST_FPS, HIGHEST_FPS = 1.0, 1000.0

# One audio latent is 4 mel frames of 160 samples at 16 kHz.
_MELS_PER_LATENT, _HOP_LENGTH, _SAMPLE_RATE = 4, 160, 16000


@dataclass(frozen=True)
class LatentGeometry:
    """Pixel size, frame count and frame rate of one stage, and the latent sizes that follow from them.

    width and height are pixels (multiples of 32), frames is 8n+1, fps is frames a second.
    Raises GeometryError for values that no latent stands for; nothing is rounded.
    """

    width: int
    height: int
    frames: int
    fps: float

    def __post_init__(self):
        _raise_problems(_size_problems(self.width, self.height, SPATIAL_FACTOR) + _time_problems(self.frames, self.fps))

    @property
    def latent_frames(self) -> int:
        return (self.frames - 1) // TEMPORAL_FACTOR + 1

    @property
    def latent_height(self) -> int:
        return self.height // SPATIAL_FACTOR

    @property
    def latent_width(self) -> int:
        return self.width // SPATIAL_FACTOR

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.latent_height * self.latent_width

    @property
    def video_tokens(self) -> int:
        return self.latent_frames * self.frame_tokens

    @property
    def audio_frames(self) -> int:
        """Audio latents (and tokens): 25 a second of the requested frames, halves rounded to even."""
        return audio_latents(self.frames, self.fps)

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """(128, F', H', W') of the video latent."""
        return VIDEO_CHANNELS, self.latent_frames, self.latent_height, self.latent_width

    @property
    def audio_shape(self) -> tuple[int, int, int]:
        """(8, T, 16) of the audio latent."""
        return AUDIO_CHANNELS, self.audio_frames, AUDIO_BINS

    def half(self) -> "LatentGeometry":
        """The size that stage one works at: half of the width and height, the same frames."""
        check_two_stage(self.width, self.height, self.frames, self.fps)
        return LatentGeometry(self.width // 2, self.height // 2, self.frames, self.fps)

    def video_positions(self, device: torch.device | str | None = None) -> Tensor:
        """[start, end) bounds (1, 3, F'*H'*W', 2) float32 of every video token: seconds, pixel rows, pixel columns.

        Latent frame 0 is one pixel frame, every later one covers eight: [0, 1), [1, 9), [9, 17) ... over fps.
        """
        frame = torch.arange(self.latent_frames + 1, device=device) * TEMPORAL_FACTOR
        seconds = (frame + 1 - TEMPORAL_FACTOR).clamp(min=0).float() / self.fps
        return _grid_bounds(seconds, *self._pixel_edges(device))

    def keyframe_positions(self, frame: int, device: torch.device | str | None = None) -> Tensor:
        """Bounds (1, 3, H'*W', 2) float32 of one image appended at pixel frame `frame`: time [frame, frame+1) / fps."""
        seconds = torch.tensor([frame, frame + 1], device=device).float() / self.fps
        return _grid_bounds(seconds, *self._pixel_edges(device))

    def _pixel_edges(self, device: torch.device | str | None) -> tuple[Tensor, Tensor]:
        """Where rows (H'+1,) and columns (W'+1,) begin and end."""
        sides = (self.latent_height, self.latent_width)
        return tuple(torch.arange(side + 1, device=device).float() * SPATIAL_FACTOR for side in sides)

    def audio_positions(self, device: torch.device | str | None = None) -> Tensor:
        """[start, end) bounds (1, 1, T, 2) float32 in seconds of every audio latent: [0, .01), [.01, .05), ..."""
        return audio_bounds(self.audio_frames, device)


@dataclass(frozen=True)
class SoundGeometry:
    """The length of a sound without a picture, in latents of which there are 25 a second.

    GeometryError below one.
    """

    audio_frames: int

    def __post_init__(self):
        if self.audio_frames < 1:
            raise GeometryError(f"A sound of {self.audio_frames} latents is none; expected at least 1, 0.04 s.")

    @classmethod
    def of_seconds(cls, seconds: float) -> "SoundGeometry":
        """The length nearest to so many seconds, halves rounded to even as for a film's sound."""
        if not (math.isfinite(seconds) and round(seconds * AUDIO_LATENTS_PER_SECOND) >= 1):
            raise GeometryError(
                f"The sound is to last {seconds} s, expected at least {1 / AUDIO_LATENTS_PER_SECOND:g} s: use 5."
            )
        return cls(round(seconds * AUDIO_LATENTS_PER_SECOND))

    @property
    def audio_shape(self) -> tuple[int, int, int]:
        """(8, T, 16) of the audio latent."""
        return AUDIO_CHANNELS, self.audio_frames, AUDIO_BINS

    def audio_positions(self, device: torch.device | str | None = None) -> Tensor:
        """As `LatentGeometry.audio_positions`."""
        return audio_bounds(self.audio_frames, device)


def pixel_frames(latent_frames: int) -> int:
    """Frames of a video whose latent has `latent_frames`: 8n+1."""
    return (latent_frames - 1) * TEMPORAL_FACTOR + 1


def audio_bounds(latents: int, device: torch.device | str | None = None) -> Tensor:
    """[start, end) bounds (1, 1, T, 2) float32 in seconds of so many audio latents, the first of which is shorter."""
    mel = torch.arange(latents + 1, dtype=torch.float32, device=device) * _MELS_PER_LATENT
    seconds = (mel + 1 - _MELS_PER_LATENT).clamp(min=0) * _HOP_LENGTH / _SAMPLE_RATE
    return torch.stack((seconds[:-1], seconds[1:]), dim=-1)[None, None]


def audio_latents(frames: int, fps: float) -> int:
    """Latents of the sound that belongs to `frames` frames at `fps`: 25 a second, halves rounded to even."""
    # Python's round is the vendor's: 2.5 -> 2.
    return round(frames / fps * AUDIO_LATENTS_PER_SECOND)


def check_fps(fps: float) -> float:
    """The frame rate as it was given; GeometryError unless it is a number that a film can have."""
    _raise_problems(_fps_problems(fps))
    return fps


def geometry_of_latent(video_latent: Tensor, fps: float) -> LatentGeometry:
    """The geometry whose video latent has the shape of `video_latent` (B, 128, F', H', W')."""
    if video_latent.ndim != 5 or video_latent.shape[1] != VIDEO_CHANNELS:
        raise GeometryError(
            f"The video latent has shape {tuple(video_latent.shape)}, expected (B, {VIDEO_CHANNELS}, frames, height, "
            "width); connect the latent of an LTX-2 model."
        )
    frames, height, width = video_latent.shape[2:]
    return LatentGeometry(width * SPATIAL_FACTOR, height * SPATIAL_FACTOR, pixel_frames(frames), fps)


def check_two_stage(width: int, height: int, frames: int, fps: float) -> LatentGeometry:
    """The final geometry of a two-stage run; GeometryError lists everything wrong and the nearest values that work.

    Width and height are the final ones in pixels; stage one works at half of them, so both are multiples of 64.
    """
    _raise_problems(_size_problems(width, height, 2 * SPATIAL_FACTOR) + _time_problems(frames, fps))
    return LatentGeometry(width, height, frames, fps)


def _size_problems(width: int, height: int, divisor: int) -> list[str]:
    problems = []
    for name, value in (("width", width), ("height", height)):
        if not isinstance(value, Integral) or value < divisor or value % divisor:
            use = _nearest(value, divisor, offset=0, least=divisor)
            problems.append(f"{name} is {value}, expected a multiple of {divisor} pixels: use {use}")
    return problems


def _time_problems(frames: int, fps: float) -> list[str]:
    problems = []
    if not isinstance(frames, Integral) or frames < 1 or (frames - 1) % TEMPORAL_FACTOR:
        use = _nearest(frames, TEMPORAL_FACTOR, offset=1, least=1)
        problems.append(f"frames is {frames}, expected 8n+1: use {use}")
    if fps_problems := _fps_problems(fps):
        problems += fps_problems
    elif not problems and audio_latents(frames, fps) < 1:
        problems.append(
            f"{frames} frames at {fps} fps last {frames / fps:.3f} s, too short for any sound: use more frames or a "
            "lower fps"
        )
    return problems


def _fps_problems(fps: float) -> list[str]:
    if LOWEST_FPS <= fps <= HIGHEST_FPS:  # false for NaN too
        return []
    return [f"fps is {fps}, expected {LOWEST_FPS:g} to {HIGHEST_FPS:g} frames a second, such as 24"]


def _raise_problems(problems: list[str]) -> None:
    if problems:
        raise GeometryError("This video size cannot be made: " + "; ".join(problems) + ".")


def _nearest(value: float, step: int, offset: int, least: int) -> str:
    below = math.floor((value - offset) / step) * step + offset
    return str(least) if below < least else f"{below} or {below + step}"


def _grid_bounds(*edges: Tensor) -> Tensor:
    """Edges of each axis (n+1,) -> bounds (1, axes, product of n, 2), last axis fastest."""
    sizes = [len(axis) - 1 for axis in edges]
    bounds = edges[0].new_empty(1, len(edges), *sizes, 2)
    for number, axis in enumerate(edges):
        along = [-1 if number == other else 1 for other in range(len(edges))]
        bounds[0, number] = torch.stack((axis[:-1], axis[1:]), dim=-1).view(*along, 2)
    return bounds.flatten(2, -2)
