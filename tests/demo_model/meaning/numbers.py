"""The measured numbers and their bars, all in one place."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ltx_duo.demo_model.detectors import Seen
from ltx_duo.demo_model.world.scenes import FPS, FRAMES
from ltx_duo.ltx_core.splicing import FADE_FRAMES

from .measures import colours_of, edge_sharpness, in_step, least_level, loudness_follows_size, psnr, strayed
from .studio import SIZE, Clip, Film, drawn, film_of
from .takes import Take

QUIET = 0.01  # root mean square of a sound that counts as silence


@dataclass(frozen=True)
class Number:
    """One number of a clip; over several clips their mean, or with `worst` the least.  Higher is better.

    applies: the takes that have it.
    """

    name: str
    bar: float
    of: Callable[[Clip], float]
    applies: Callable[[Take], bool] = lambda take: True
    worst: bool = False
    unit: str = ""

    def over(self, clips: Iterable[Clip]) -> float:
        """ValueError if no clip has the number."""
        values = [self.of(clip) for clip in clips if self.applies(clip.take)]
        return min(values) if self.worst else sum(values) / len(values)

    def fits(self, clip: Clip) -> bool:
        """Whether the clip alone reaches the bar, or does not have the number."""
        return not self.applies(clip.take) or self.of(clip) >= self.bar


def _bounces(take: Take) -> bool:
    return take.scene.motion == "bouncing"


def _given(take: Take) -> bool:
    return take.image


def _retaken(take: Take) -> bool:
    """Whether the shape is of two colours, which the detectors take for two shapes."""
    return take.part is not None and take.part.window[0] > 0


def _boxed(take: Take) -> bool:
    return take.part is not None and take.part.box is not None


def _longer(take: Take) -> bool:
    return take.part is not None and take.part.frames < FRAMES


def _right_sound(clip: Clip) -> float:
    scene, sound = clip.take.scene, clip.heard
    if scene.motion == "still":
        return float(sound.loudness.max() < QUIET)
    return float(sound.shape == scene.shape and (scene.motion == "bouncing" or not sound.clicks))


def sharpness(frames: Tensor, seen: Seen) -> float:
    """Of the shape's edge, see `edge_sharpness`; 0 without a shape: noise has sharp edges too."""
    return 0.0 if seen.shape is None else edge_sharpness(frames)


def _sharpness_kept(film: Film) -> float:
    before = sharpness(film.sketch.enlarged, film.sketch.seen_enlarged)
    return sharpness(film.frames, film.seen) / before if before else 0.0


def _clean(film: Film) -> float:
    """Minus infinity if nothing is left that both call background."""
    sketch = film.sketch
    return psnr(film.frames, sketch.enlarged, film.seen.background & sketch.seen_enlarged.background)


def _colours(clip: Clip) -> float:
    """Share of what is before, in and after the window whose colour is as it should be."""
    old, new = clip.take.part.scene.colour, clip.take.scene.colour
    start, end = (round(edge * FPS) for edge in clip.take.part.window)
    parts = (slice(0, start), slice(start + FADE_FRAMES, end - FADE_FRAMES), slice(end + 1, None))
    found = colours_of(clip.frames, parts)
    return sum(one == other for one, other in zip(found, (old, new, old), strict=True)) / len(parts)


def _seam(take: Take) -> int:
    """The first frame that is made anew."""
    return round(film_of(take.part).windows[0][0] * FPS)


def _on_its_way(clip: Clip) -> float:
    """While the film that is given fades into what is made."""
    seam = _seam(clip.take)
    return -SIZE * strayed(clip.frames, clip.drawn, slice(seam - 1, seam + FADE_FRAMES + 1))


def _stays(clip: Clip) -> float:
    """The least dB of what is given, in the latents."""
    values = []
    for latent, kept in clip.kept:
        stays = (kept.made_anew == 0)[:, None] if latent.ndim == 5 else (kept.made_anew == 0)[:, None, :, None]
        if stays.any():
            values.append(psnr(latent, kept.latent, stays.expand_as(latent)))
    return min(values)


def _untouched(film: Film) -> float:
    """Whether all pixels that are given come out as they are, bit for bit."""
    part, own = film.take.part, drawn(film.take.part.scene, SIZE)
    stays = torch.zeros(own.shape[:3], dtype=torch.bool)
    if not part.picture:
        stays[:] = True
    if part.box is not None:
        stays |= film_of(part).mask == 0
    for start, end in film_of(part).windows:
        times = torch.arange(len(own)) / FPS
        stays |= ((times + 1 / FPS <= start) | (times >= end))[:, None, None]
    return float(torch.equal(film.frames[stays], own[stays]))


COLOUR = Number(
    "asked colour is seen", 0.9,
    lambda clip: float(clip.seen.colour == clip.take.scene.colour), lambda take: not _retaken(take),
)  # fmt: skip
SHAPE = Number(
    "asked shape is seen", 0.8,
        lambda clip: float(clip.seen.shape == clip.take.scene.shape), lambda take: not (_retaken(take) or _boxed(take)),
)  # fmt: skip
SHAPE_OF_THE_TONE = replace(SHAPE, name="shape is the one of the given tone", bar=0.6)
SHAPE_IN_THE_BOX = replace(SHAPE, name="asked shape is seen in the box", bar=0.6, applies=_boxed)
MOTION = Number(
    "asked motion is seen", 0.9,
    lambda clip: float(clip.seen.motion == clip.take.scene.motion), lambda take: not _retaken(take),
)  # fmt: skip
SOUND = Number("pitch is the shape's, no click without a bounce, still is silent", 0.9, _right_sound)
CLICKS = Number(
    "a click within 2 frames of each bounce seen", 0.9,
    lambda clip: in_step(clip.seen.bounces, clip.heard.clicks, 2), _bounces,
)  # fmt: skip
LOUDER = Number(
    "loudness follows size, correlation", 0.75,
    lambda clip: loudness_follows_size(clip.seen, clip.heard), lambda take: take.scene.motion == "growing",
)  # fmt: skip
SKETCH_LIKE_DRAWN = Number(
    "stage one is like the drawn clip of its size", 28.0, lambda clip: psnr(clip.frames, clip.drawn), _given, unit=" dB"
)  # fmt: skip
CLEAN = Number(
    "background keeps clean across stage two", 35.0,
    _clean, lambda take: take.part is None and _given(take), worst=True, unit=" dB",
)  # fmt: skip
# A prompt leaves the background open, and stage one mixes two of them at times, of which stage two makes one.
MOSTLY_CLEAN = Number(
    "background keeps 35 dB across stage two", 0.85,
    lambda film: float(_clean(film) >= CLEAN.bar), lambda take: take.part is None and not _given(take),
)  # fmt: skip
KEEPS = Number(
    "stage two keeps stage one's picture", 22.7,
    lambda film: psnr(film.frames, film.sketch.enlarged), lambda take: take.part is None, unit=" dB",
)  # fmt: skip
FIRST_FRAME = Number(
    "given first frame is kept", 28.0,
    lambda film: psnr(film.frames[0], film.drawn[0]), _given, worst=True, unit=" dB",
)  # fmt: skip
LIKE_DRAWN = Number("clip is like the drawn one", 30.0, lambda film: psnr(film.frames, film.drawn), _given, unit=" dB")
NEARER = Number(
    "stage two is nearer to the drawn clip than stage one enlarged", 1.8,
    lambda film: psnr(film.frames, film.drawn) - psnr(film.sketch.enlarged, film.drawn), _given, unit=" dB",
)  # fmt: skip
KEEPS_SHARP = Number("edges are as sharp as in stage one enlarged, times", 0.95, _sharpness_kept, _given)
SHARP = Number(
    "edges are as sharp as the drawn ones, times", 0.4,
    lambda film: sharpness(film.frames, film.seen) / edge_sharpness(film.drawn), _given,
)  # fmt: skip

STAYS = Number(
    "what is given stays in the latent", 45.0,
    _stays, lambda take: take.sound or take.part is not None, worst=True, unit=" dB",
)  # fmt: skip
UNTOUCHED = Number(
    "pixels that are given come out bit for bit", 1.0, _untouched, lambda take: take.part is not None, worst=True
)  # fmt: skip
COLOURS = Number("the colour changes in the window and nowhere else", 0.9, _colours, _retaken)
ON_ITS_WAY = Number(
    "the shape goes on along its path at the seam, minus pixels of 256 off", -2.0, _on_its_way, _longer
)  # fmt: skip
GOES_ON = Number(
    "the sound goes on at the seam, least level over the given one", 0.5,
    lambda clip: least_level(clip.heard, _seam(clip.take) / FPS), _longer, worst=True,
)  # fmt: skip

SEEN = (COLOUR, SHAPE, MOTION)
GIVEN = (SHAPE_IN_THE_BOX, STAYS, COLOURS, ON_ITS_WAY, GOES_ON)
HEARD = (SOUND, CLICKS, LOUDER)
OF_A_SKETCH = (*SEEN, SHAPE_IN_THE_BOX, SKETCH_LIKE_DRAWN, STAYS, COLOURS, *HEARD)
OF_A_FILM = (
    *SEEN,
    *HEARD,
    *GIVEN,
    UNTOUCHED,
    CLEAN,
    MOSTLY_CLEAN,
    KEEPS,
    FIRST_FRAME,
    LIKE_DRAWN,
    NEARER,
    KEEPS_SHARP,
    SHARP,
)

# How much better the first setting is than the second, in the unit of the score named.
CFG_HELPS = 0.005
PROMPT_HELPS = 0.5
STG_HELPS = 0.3
MODALITY_HELPS = 0.1
LORA_HELPS = 0.3


def words_right(clip: Clip) -> float:
    """Share of colour, shape, motion and sound that are as asked."""
    return sum(number.of(clip) for number in (*SEEN, SOUND)) / 4
