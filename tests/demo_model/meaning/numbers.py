"""The measured numbers and their bars, all in one place; what was measured, with the ceiling, is printed at the end.

The ceiling of a number is what the drawn clips give that only went through the model's autoencoders.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from ltx_duo.demo_model.detectors import Seen

from .measures import edge_sharpness, in_step, loudness_follows_size, psnr, sound_follows_place
from .studio import SAMPLE_RATE, Film
from .takes import Take

QUIET = 0.01  # root mean square of a sound that counts as silence


@dataclass(frozen=True)
class Number:
    """One number of a film; over several films their mean, or with `worst` the least.  Higher is better.

    applies: the takes that have it.
    """

    name: str
    bar: float
    of: Callable[[Film], float]
    applies: Callable[[Take], bool] = lambda take: True
    worst: bool = False
    unit: str = ""

    def over(self, films: Iterable[Film]) -> float:
        """ValueError if no film has the number."""
        values = [self.of(film) for film in films if self.applies(film.take)]
        return min(values) if self.worst else sum(values) / len(values)

    def fits(self, film: Film) -> bool:
        """Whether the film alone reaches the bar, or does not have the number."""
        return not self.applies(film.take) or self.of(film) >= self.bar


def _bounces(take: Take) -> bool:
    return take.scene.motion == "bouncing"


def _given(take: Take) -> bool:
    return take.image


def _right_sound(film: Film) -> float:
    scene, sound = film.take.scene, film.heard
    if scene.motion == "still":
        return float(sound.loudness.max() < QUIET)
    return float(sound.shape == scene.shape and (scene.motion == "bouncing" or not sound.clicks))


def sharpness(frames: Tensor, seen: Seen) -> float:
    """Of the shape's edge, see `edge_sharpness`; 0 without a shape: noise has sharp edges too."""
    return 0.0 if seen.shape is None else edge_sharpness(frames)


def _sharper(film: Film) -> float:
    before = sharpness(film.upsampled, film.seen_upsampled)
    return sharpness(film.frames, film.seen) / before if before else 0.0


def _clean(film: Film) -> float:
    """Minus infinity if nothing is left that both call background."""
    return psnr(film.frames, film.upsampled, film.seen.background & film.seen_upsampled.background)


COLOUR = Number("asked colour is seen", 0.9, lambda film: float(film.seen.colour == film.take.scene.colour))
SHAPE = Number("asked shape is seen", 0.9, lambda film: float(film.seen.shape == film.take.scene.shape))
MOTION = Number("asked motion is seen", 0.9, lambda film: float(film.seen.motion == film.take.scene.motion))
SOUND = Number("pitch is the shape's, no click without a bounce, still is silent", 0.9, _right_sound)
CLICKS = Number(
    "a click within 2 frames of each bounce seen", 0.9,
    lambda film: in_step(film.seen.bounces, film.heard.clicks, 2), _bounces,
)  # fmt: skip
LOUDER = Number(
    "loudness follows size, correlation", 0.8,
    lambda film: loudness_follows_size(film.seen, film.heard), lambda take: take.scene.motion == "growing",
)  # fmt: skip
SIDE = Number(
    "sound follows x from left to right, correlation", 0.8,
    lambda film: sound_follows_place(film.seen, film.waveform, SAMPLE_RATE),
    lambda take: take.scene.motion in ("left", "right"),
)  # fmt: skip
CLEAN = Number("background keeps clean across stage two", 35.0, _clean, worst=True, unit=" dB")
KEEPS = Number("stage two keeps stage one's picture", 22.0, lambda film: psnr(film.frames, film.upsampled), unit=" dB")
FIRST_FRAME = Number(
    "given first frame is kept", 28.0,
    lambda film: psnr(film.frames[0], film.drawn[0]), _given, worst=True, unit=" dB",
)  # fmt: skip
LIKE_DRAWN = Number("clip is like the drawn one", 22.0, lambda film: psnr(film.frames, film.drawn), _given, unit=" dB")
NEARER = Number(
    "stage two is nearer to the drawn clip than stage one enlarged", 0.5,
    lambda film: psnr(film.frames, film.drawn) - psnr(film.upsampled, film.drawn), _given, unit=" dB",
)  # fmt: skip
SHARPER = Number("edges are sharper than in stage one enlarged, times", 1.02, _sharper, _given)
SHARP = Number(
    "edges are as sharp as the drawn ones, times", 0.5,
    lambda film: sharpness(film.frames, film.seen) / edge_sharpness(film.drawn), _given,
)  # fmt: skip

OF_A_FILM = (
    COLOUR, SHAPE, MOTION, SOUND, CLICKS, LOUDER, SIDE, CLEAN, KEEPS, FIRST_FRAME, LIKE_DRAWN, NEARER, SHARPER,
    SHARP,
)  # fmt: skip

# How much better the first setting is than the second, in the unit of the score named.
CFG_HELPS = 0.02
PROMPT_HELPS = 0.5
STG_HELPS = 0.005
MODALITY_HELPS = 0.2


def words_right(film: Film) -> float:
    """Share of colour, shape, motion and sound that are as asked."""
    return sum(number.of(film) for number in (COLOUR, SHAPE, MOTION, SOUND)) / 4


@dataclass
class Measured:
    """What was measured in this run."""

    rows: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def check(self, name: str, number: Number, value: float, ceiling: float | None, wrong: list[str]) -> None:
        """Keeps a number of several films and asserts that it reaches its bar; `wrong`: what to show if not."""
        beside = "" if ceiling is None else f"  (autoencoders alone: {ceiling:.3g})"
        self.rows.append(f"{value:8.3g}{number.unit} >= {number.bar:.3g}  {name}{beside}")
        assert value >= number.bar, f"{name}: {value:.3g}{number.unit} < {number.bar:.3g}; {wrong}"

    def compare(self, name: str, value: float, other: float, margin: float) -> None:
        """Keeps two values and asserts that the first is higher by the margin."""
        self.rows.append(f"{value:8.3g} >= {other:.3g} + {margin:.3g}  {name}")
        assert value >= other + margin, f"{name}: {value:.3g} < {other:.3g} + {margin:.3g}"


MEASURED = Measured()
