"""The measured numbers and their bars, all in one place."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from ltx_duo.demo_model.detectors import Seen

from .measures import edge_sharpness, in_step, loudness_follows_size, psnr
from .studio import Clip, Film
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


COLOUR = Number("asked colour is seen", 0.9, lambda clip: float(clip.seen.colour == clip.take.scene.colour))
SHAPE = Number("asked shape is seen", 0.8, lambda clip: float(clip.seen.shape == clip.take.scene.shape))
MOTION = Number("asked motion is seen", 0.9, lambda clip: float(clip.seen.motion == clip.take.scene.motion))
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
CLEAN = Number("background keeps clean across stage two", 35.0, _clean, worst=True, unit=" dB")
KEEPS = Number(
    "stage two keeps stage one's picture", 22.7, lambda film: psnr(film.frames, film.sketch.enlarged), unit=" dB"
)
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

SEEN = (COLOUR, SHAPE, MOTION)
HEARD = (SOUND, CLICKS, LOUDER)
OF_A_SKETCH = (*SEEN, SKETCH_LIKE_DRAWN, *HEARD)
OF_A_FILM = (*SEEN, *HEARD, CLEAN, KEEPS, FIRST_FRAME, LIKE_DRAWN, NEARER, KEEPS_SHARP, SHARP)

# How much better the first setting is than the second, in the unit of the score named.
CFG_HELPS = 0.005
PROMPT_HELPS = 0.5
STG_HELPS = 0.3
MODALITY_HELPS = 0.1


def words_right(clip: Clip) -> float:
    """Share of colour, shape, motion and sound that are as asked."""
    return sum(number.of(clip) for number in (*SEEN, SOUND)) / 4
