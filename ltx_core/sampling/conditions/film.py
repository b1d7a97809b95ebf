"""A film as it is given, where it stands in the film that is made, and what of it is made anew."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import ConditioningError
from ..geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, LatentGeometry, check_fps
from .fitting import fit_mask
from .sound import GivenSound, silence

OVERLAP = 0.5  # seconds of a film that are made anew beside what is added to it: the vendor's
_FRAMES_AT_ONCE = 8
_SAME_RATE = 1e-3  # 23.976 is 24000/1001


@dataclass(frozen=True, eq=False)
class GivenFilm:
    """A film that is kept but for a part, which is made anew: retake, extend, region, a new sound.

    frames: (F, H, W, 3) float 0..1 on the CPU, at `fps`; sound: its own, None for a silent film.  lead: its first
    frames that no stage sees and that come out as they are; the film that is made begins behind them.  before, after:
    frames that are added in front and behind, multiples of 8.  windows: [start, end) in seconds of the film that is
    made, where it is made anew.  mask: (F or 1, H, W) float of the same size as the frames, 1 where the picture is made
    anew inside the windows, None for all of it.  new_picture, new_sound: which of both is made anew.

    The vendor's retake has one window; its product extends a film by `added`.  ConditioningError for what is no film,
    and where nothing of it would be made anew.
    """

    frames: Tensor
    fps: float
    sound: GivenSound | None = None
    windows: tuple[tuple[float, float], ...] = ((0.0, math.inf),)
    before: int = 0
    after: int = 0
    mask: Tensor | None = None
    lead: int = 0
    new_picture: bool = True
    new_sound: bool = True

    def __post_init__(self):
        _check_frames(self.frames)
        check_fps(self.fps)
        for name in ("before", "after"):
            added = getattr(self, name)
            if added < 0 or added % TEMPORAL_FACTOR:
                raise ConditioningError(f"{name} is {added} frames, expected a multiple of {TEMPORAL_FACTOR} from 0.")
        if not 0 <= self.lead < len(self.frames) or (self.lead and (self.before or self.mask is not None)):
            raise ConditioningError(
                f"lead is {self.lead} frames, expected fewer than the film's {len(self.frames)}, and 0 where frames "
                "are added in front or a mask is given."
            )
        if not (self.new_picture or self.new_sound):
            raise ConditioningError("Neither picture nor sound is made anew: choose one of them, or both.")
        for start, end in self.windows:
            if not start < end:
                raise ConditioningError(f"The window runs from {start:g} to {end:g} s; its end must be the later one.")
            if start >= self.seconds or end <= 0:
                raise ConditioningError(
                    f"The window from {start:g} to {end:g} s lies outside the film, which lasts {self.seconds:.2f} s."
                )
        if self.mask is not None:
            _check_mask(self.mask, self.frames)
            if not self.mask[self._own_inside() if len(self.mask) > 1 else slice(None)].any():
                raise ConditioningError(
                    "The mask is empty wherever the film is made anew, so that nothing would change: paint what is to "
                    "change on frames inside the window."
                )

    @staticmethod
    def added(
        frames: Tensor,
        fps: float,
        sound: GivenSound | None = None,
        *,
        before: float = 0.0,
        after: float = 0.0,
        overlap: float = OVERLAP,
        context: float = 0.0,
    ) -> "GivenFilm":
        """The film with `before` and `after` seconds added to it, rounded up to 8 frames.

        `overlap`: seconds of the film that are made anew beside what is added, so that both meet.  `context`: the
        seconds at its end that the stages see, where nothing is added in front; 0 is all of it.  A long film grows in
        steps that cost the same.
        """
        for name, seconds in (("before", before), ("after", after), ("overlap", overlap), ("context", context)):
            if not 0 <= seconds < math.inf:  # NaN fails too
                raise ConditioningError(f"{name} is {seconds:g} s, expected a number of seconds from 0.")
        if not (before or after):
            raise ConditioningError("Nothing is added to the film: give seconds before it, after it, or both.")
        _check_frames(frames)
        check_fps(fps)
        added = [_whole_cells(seconds * fps) for seconds in (before, after)]
        if context and before:
            raise ConditioningError(
                "context is a part at the film's end, but frames are added in front of it too: set context to 0, or "
                "add them in another run."
            )
        # Only whole latent frames are seen: at the beginning the rest is not missed.
        all_seen = (len(frames) - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1
        seen = min(all_seen, _whole_cells(context * fps) + 1) if context else all_seen
        lead = 0 if added[0] else len(frames) - seen
        length, kept = _used(len(frames) - lead, added[1]), round(overlap * fps)
        windows = []
        if added[0]:
            windows.append((0.0, min(added[0] + kept, sum(added) + length) / fps))
        if added[1]:
            windows.append((max(0, added[0] + length - kept) / fps, math.inf))
        film = GivenFilm(frames, fps, sound, tuple(windows), *added, lead=lead)
        if film.video_mask(LatentGeometry(SPATIAL_FACTOR, SPATIAL_FACTOR, film.total, fps)).all():
            raise ConditioningError(
                f"Of the {(len(frames) - lead) / fps:.2f} s of the film that are seen nothing would be kept: with an "
                f"overlap of {overlap:g} s all of it is made anew, in steps of {TEMPORAL_FACTOR} frames. Choose a "
                "shorter overlap, or a longer film or context."
            )
        return film

    @property
    def used(self) -> int:
        """How many frames of the new film belong to it, 8n+1: its last frame is repeated where it has fewer; where
        frames follow, the last ones that do not fit are left out."""
        return _used(len(self.frames) - self.lead, self.after)

    @property
    def total(self) -> int:
        """Frames of the film that is made, 8n+1."""
        return self.before + self.used + self.after

    @property
    def length(self) -> int:
        """Frames that come out behind the lead: without what was repeated to fill the film up."""
        return self.before + min(self.used, len(self.frames) - self.lead) + self.after

    @property
    def seconds(self) -> float:
        """How long that lasts."""
        return self.length / self.fps

    def gives_sound(self, from_noise: bool = True) -> bool:
        """Whether it says anything of a stage's sound: what it is, or that there is none.

        from_noise: whether what is made anew begins from noise.  Then a sound of which nothing is kept counts no more.
        """
        if self.sound is None or not self.new_sound:
            return not self.new_sound
        kept = LatentGeometry(SPATIAL_FACTOR, SPATIAL_FACTOR, self.total, self.fps)
        return not (from_noise and bool(self.audio_mask(kept).all()))

    def check(self, frames: int, fps: float) -> None:
        """ConditioningError unless a film of `frames` at `fps` is the one that this one is a part of."""
        if abs(fps - self.fps) > _SAME_RATE:
            raise ConditioningError(
                f"The given film has {self.fps:g} frames a second, the film is made at {fps:g}: set fps to "
                f"{self.fps:g}, or connect the fps of the node that gives the film."
            )
        if frames != self.total:
            raise ConditioningError(
                f"The given film needs {self.total} frames ({len(self.frames)} of its own), the film is made with "
                f"{frames}: set frames to {self.total}, or connect the frames of the node that gives the film."
            )

    def check_beside(self, from_noise: bool, *, images: bool, sound: bool) -> None:
        """ConditioningError for what does not go together with it in one film.

        from_noise: whether the first sigma of stage one is 1; images (or references, or keyframes that are generated),
        sound: whether such are given too.
        """
        if not from_noise and (self.before or self.after):
            raise ConditioningError(
                "Frames are added to the film, which are made from noise alone, but stage one's first sigma is below "
                "1: set denoise to 1, or leave the sigmas open."
            )
        if images and not self.new_picture:
            raise ConditioningError(
                "The picture of the given film is kept, so that references and images in it change nothing: take them "
                "out of the conditions."
            )
        if sound and not self.new_picture:
            raise ConditioningError(
                "The picture of the given film is kept and a sound is given, so that nothing is left to make: take one "
                "of both out of the conditions."
            )

    def source(self, frame: int) -> int | None:
        """Which of its own frames stands at `frame` of the new film; None where one is added."""
        own = frame - self.before
        return min(self.lead + own, len(self.frames) - 1) if 0 <= own < self.used else None

    def placed_sound(self) -> GivenSound | None:
        """Its sound on the time of the new film; silence where it ends within the lead."""
        if self.sound is None:
            return None
        waveform, rate = self.sound.waveform, self.sound.sample_rate
        start = self.sound.start + (self.lead - self.before) / self.fps
        return GivenSound(waveform, rate, start) if start < waveform.shape[1] / rate else silence(rate)

    def video_mask(self, geometry: LatentGeometry) -> Tensor:
        """(1, F', H', W') float32 at the size of `geometry`: 1 for every cell of which a pixel is made anew."""
        frames, height, width = geometry.video_shape[1:]
        if not self.new_picture:
            return torch.zeros(1, frames, height, width)
        bounds = geometry.video_positions()[0, 0, :: geometry.frame_tokens]
        inside = self._inside(bounds)
        # What is added has no cells of its own, nor has the film's single first frame behind it.
        first, last = self.before // TEMPORAL_FACTOR, (self.before + self.used - 1) // TEMPORAL_FACTOR
        inside[: first + 1 if self.before else 0] = True
        inside[last + 1 :] = True
        inside = inside.float()[:, None, None].expand(frames, height, width)
        if self.mask is None:
            return inside[None].clone()
        return (inside * _cells(self.mask, self, geometry))[None]

    def audio_mask(self, geometry: LatentGeometry) -> Tensor:
        """(1, T) float32: 1 for every latent of which any time is made anew."""
        if not self.new_sound:
            return torch.zeros(1, geometry.audio_frames)
        return self._inside(geometry.audio_positions()[0, 0]).float()[None]

    def _own_inside(self) -> Tensor:
        """(F,) bool: which of its own frames are made anew."""
        begins = torch.arange(len(self.frames) + 1).float() + self.before - self.lead
        return self._inside(torch.stack((begins[:-1], begins[1:]), dim=-1) / self.fps)

    def _inside(self, bounds: Tensor) -> Tensor:
        """Of bounds (N, 2) in seconds, which overlap a window: the vendor's rule, open at both edges."""
        begins, ends = bounds.unbind(-1)
        inside = torch.zeros(len(bounds), dtype=torch.bool, device=bounds.device)
        for start, end in self.windows:
            inside |= (ends > start) & (begins < end)
        return inside


def _whole_cells(frames: float) -> int:
    """Rounded up to multiples of 8, but for a hair."""
    return math.ceil(frames / TEMPORAL_FACTOR - 1e-6) * TEMPORAL_FACTOR


def _used(frames: int, after: int) -> int:
    whole = (frames - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1
    return whole if after or whole == frames else whole + TEMPORAL_FACTOR


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ConditioningError(
            f"The film has shape {tuple(frames.shape)}, expected (frames, height, width, 3) RGB: give its frames as "
            "pictures, colours last."
        )
    if not frames.is_floating_point():
        raise ConditioningError(f"The film holds {frames.dtype}, expected floats in 0..1: divide bytes by 255.")
    if not all(torch.isfinite(part.sum(dtype=torch.float64)) for part in frames.split(_FRAMES_AT_ONCE)):
        raise ConditioningError("The film holds values that are not numbers (NaN or infinite): give another one.")


def _check_mask(mask: Tensor, frames: Tensor) -> None:
    count = len(frames)
    if mask.ndim != 3 or mask.shape[0] not in (1, count) or tuple(mask.shape[1:]) != tuple(frames.shape[1:3]):
        raise ConditioningError(
            f"The mask has shape {tuple(mask.shape)}, expected (1 or {count}, {frames.shape[1]}, {frames.shape[2]}): "
            "one mask for the whole film or one a frame, of the film's size."
        )
    if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
        raise ConditioningError("The mask leaves 0 to 1: 1 makes a pixel anew, 0 keeps it.")
    if not mask.any():
        raise ConditioningError("The mask is empty, so that nothing would be made anew: paint what is to change.")


def _cells(mask: Tensor, film: GivenFilm, geometry: LatentGeometry) -> Tensor:
    """A mask of pixels as the largest value of each latent cell, (F', H', W'): kept only where every pixel is."""
    frames, height, width = geometry.video_shape[1:]
    fitted = (fit_mask(frame, geometry.width, geometry.height) for frame in mask)
    pooled = [F.max_pool2d(frame[None, None], SPATIAL_FACTOR)[0, 0] for frame in fitted]
    cells = []
    for cell in range(frames):
        first, last = max(0, (cell - 1) * TEMPORAL_FACTOR + 1), cell * TEMPORAL_FACTOR
        own = {film.source(frame) for frame in range(first, last + 1)}
        if None in own:
            cells.append(torch.ones(height, width))
        else:
            cells.append(torch.stack([pooled[min(frame, len(pooled) - 1)] for frame in own]).amax(0))
    return torch.stack(cells)
