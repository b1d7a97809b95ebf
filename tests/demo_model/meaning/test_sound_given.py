"""With a sound given: the picture is made to it."""

import pytest

from ltx_duo.tests.demo_model.meaning.measures import in_step
from ltx_duo.tests.demo_model.meaning.numbers import CLICKS, COLOUR, MOTION, SHAPE_OF_THE_TONE, STAYS
from ltx_duo.tests.demo_model.meaning.takes import SOUNDS, UNNAMED


@pytest.fixture(scope="module")
def sketches(studio):
    return [studio.sketch(take) for take in SOUNDS]


@pytest.mark.parametrize("number", [COLOUR, MOTION, CLICKS, STAYS], ids=lambda number: number.name)
def test_what_is_seen_fits_prompt_and_sound(number, sketches, measured):
    measured.check(number, "sound", sketches, ())


def test_the_sound_alone_decides_when_it_bounces(sketches):
    """Prompt and seed are the same: each picture is out of step with the other's clicks."""
    early, late = sketches
    for picture, other in ((early, late), (late, early)):
        assert in_step(picture.seen.bounces, other.heard.clicks, 2) < CLICKS.bar


@pytest.mark.parametrize("number", [SHAPE_OF_THE_TONE, COLOUR, MOTION], ids=lambda number: number.name)
def test_the_tone_alone_tells_the_shape(number, studio, measured):
    measured.check(number, "tone", [studio.sketch(take) for take in UNNAMED], ())
