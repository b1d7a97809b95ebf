"""Deliberately wrong pipelines: every planted mistake brings at least one number of a film below its bar."""

import pytest

from ltx_duo.tests.demo_model.meaning import mistakes, mistakes_given
from ltx_duo.tests.demo_model.meaning.numbers import OF_A_FILM, OF_A_SKETCH
from ltx_duo.tests.demo_model.meaning.plants import PLANTS, fallen, seen_in


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_mistake_is_seen(plant, studio, measured):
    take, numbers = seen_in(plant, studio) or (None, [])
    measured.mistakes.append((plant.name, take.name if take else "nothing", "; ".join(numbers)))
    assert numbers, f"all numbers hold over {[take.name for take in plant.takes]}"


@pytest.mark.parametrize(
    "take", dict.fromkeys(take for plant in PLANTS for take in plant.takes), ids=lambda take: take.name
)
def test_without_a_mistake_every_number_holds(take, studio):
    film = studio.film(take)
    assert not fallen(film, OF_A_FILM)
    assert not fallen(film.sketch, OF_A_SKETCH)


def test_all_mistakes_are_registered():
    named = vars(mistakes) | vars(mistakes_given)
    assert all(named[plant.spoil.__name__] is plant.spoil for plant in PLANTS)
    assert len(PLANTS) == len({plant.name for plant in PLANTS}) > 40
