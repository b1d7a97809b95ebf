"""With a film given: what is made anew of it fits what stays, and what stays does so to the bit."""

import pytest

from ltx_duo.tests.demo_model.meaning.numbers import CLICKS, GIVEN, OF_A_FILM, SOUND
from ltx_duo.tests.demo_model.meaning.takes import PARTS, SILENT


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, takes in PARTS.items() for number in OF_A_FILM if any(map(number.applies, takes))],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_part_that_is_made_anew(name, number, studio, measured):
    measured.check(number, name, [studio.film(take) for take in PARTS[name]], ())


@pytest.mark.parametrize("number", [SOUND, CLICKS], ids=lambda number: number.name)
def test_sound_of_a_silent_film_fits_what_is_seen(number, studio, measured):
    measured.check(number, "silent film", [studio.sketch(take) for take in SILENT], ())


def test_every_number_of_what_is_given_has_a_film():
    assert all(any(number.applies(take) for takes in PARTS.values() for take in takes) for number in GIVEN)
