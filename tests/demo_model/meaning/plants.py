"""What every planted mistake is made with: a run that may be spoilt, and which phases it may take from a good film."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest
from torch import nn

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError

from .numbers import HEARD, OF_A_FILM, OF_A_SKETCH, Number
from .studio import Clip, Film, Setup, Sketch, Studio, request, reuse, reuse_stages, shoot, shoot_stage_one
from .takes import IMAGES, TEXTS, Take

LOOKED_AT = tuple(number for number in OF_A_SKETCH if number not in HEARD)

# Tried in this order until one shows the mistake: each mistake begins with the take that is known to.
PICTURE_FIRST = (IMAGES[0], TEXTS[4], TEXTS[0])
BOUNCING_FIRST = (TEXTS[4], TEXTS[0], IMAGES[0])
STAR_FIRST = (TEXTS[0], IMAGES[0], TEXTS[4])


class Run:
    """One run that a plant may spoil: its components, LoRA strengths and request, and a monkeypatch."""

    def __init__(self, setup: Setup, patch: pytest.MonkeyPatch):
        self.setup = setup
        self.patch = patch

    def spoil(self, component: str) -> nn.Module:
        """A copy of a component for this run alone.  Of the text encoder, the language model stays shared."""
        original = getattr(self.setup.components, component)
        shared = {id(original.gemma): original.gemma} if component == "text_encoder" else {}
        module = copy.deepcopy(original, shared)
        self.exchange(component, module)
        return module

    def exchange(self, component: str, module: nn.Module) -> None:
        components = replace(self.setup.components, **{component: module})
        self.setup = replace(self.setup, components=components)

    def lora(self, first: float, second: float) -> None:
        self.setup = replace(self.setup, lora_strengths=(first, second))

    def change(self, change: Callable[[two_stage.Request], two_stage.Request]) -> None:
        self.setup = replace(self.setup, change_request=change)


@dataclass(frozen=True)
class Plant:
    """A mistake; `phases`: of a good run's phases, how many come before it (1: stage one, 2: both stages)."""

    spoil: Callable[[Run], None]
    phases: int
    takes: tuple[Take, ...]

    @property
    def name(self) -> str:
        return self.spoil.__name__.replace("_", " ")


PLANTS: list[Plant] = []


def plant(phases: int, takes: tuple[Take, ...] = PICTURE_FIRST):
    """Adds the decorated function to PLANTS."""

    def add(spoil: Callable[[Run], None]) -> Callable[[Run], None]:
        PLANTS.append(Plant(spoil, phases, takes))
        return spoil

    return add


def fallen(clip: Clip, numbers: Sequence[Number]) -> list[str]:
    """Those of the numbers that lie below their bars, with their values."""
    return [f"{number.name}: {number.of(clip):.3g}{number.unit}" for number in numbers if not number.fits(clip)]


def seen_in(plant: Plant, studio: Studio) -> tuple[Take, list[str]] | None:
    """The first take in which the mistake shows, and how; None if all numbers of all takes hold."""
    for take in plant.takes:
        try:
            found = next(filter(None, _looks(plant, take, studio)), None)
        except LTXError as error:
            found = [f"the run stopped: {str(error)[:60]}"]
        if found:
            return take, found
    return None


def _looks(plant: Plant, take: Take, studio: Studio) -> Iterator[list[str]]:
    """What shows at each look at the take, those that cost less first.  Decoded for measuring by good components."""
    if plant.phases == 0:
        with _spoilt(plant, studio) as setup:
            sketch = Sketch(take, shoot_stage_one(setup, request(take)), studio.setup.components)
        yield fallen(sketch, LOOKED_AT)
        yield fallen(sketch, HEARD)
        keep = lambda patch: reuse_stages(patch, sketch.latent)  # noqa: E731
    else:
        good = studio.film(take)
        sketch, keep = good.sketch, partial(reuse, film=good, phases=plant.phases)
    with _spoilt(plant, studio, keep) as setup:
        film = Film(take, shoot(setup, request(take)), sketch)
    yield fallen(film, OF_A_FILM)


@contextmanager
def _spoilt(
    plant: Plant, studio: Studio, keep: Callable[[pytest.MonkeyPatch], None] = lambda patch: None
) -> Iterator[Setup]:
    """The mistake is there inside the `with` statement; `keep` takes what it does not concern from an earlier run."""
    with pytest.MonkeyPatch.context() as patch:
        keep(patch)
        run = Run(studio.setup, patch)
        plant.spoil(run)
        yield run.setup
