"""From words alone: what was asked for is seen and heard, over sixteen prompts."""

import pytest

from ltx_duo.tests.demo_model.meaning.numbers import (
    CLICKS,
    COLOUR,
    KEEPS,
    LOUDER,
    MOSTLY_CLEAN,
    MOTION,
    SHAPE,
    SOUND,
)
from ltx_duo.tests.demo_model.meaning.takes import TEXTS


@pytest.mark.parametrize(
    "number", [COLOUR, SHAPE, MOTION, SOUND, CLICKS, LOUDER, MOSTLY_CLEAN, KEEPS], ids=lambda number: number.name
)
def test_over_all_prompts(number, text_films, ceiling_films, measured):
    measured.check(number, "text", text_films, ceiling_films)


def test_prompts_ask_for_everything():
    assert len(TEXTS) >= 16
    for field, count in (("shape", 4), ("colour", 8), ("motion", 8)):
        assert len({getattr(take.scene, field) for take in TEXTS}) == count
