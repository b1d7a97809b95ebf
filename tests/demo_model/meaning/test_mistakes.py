"""Deliberately wrong pipelines: every planted mistake brings at least one number of a film below its bar."""

import pytest

from ltx_duo.tests.demo_model.meaning import mistakes
from ltx_duo.tests.demo_model.meaning.plants import PICTURE_FIRST, PLANTS, SOUND_FIRST, fallen, seen_in


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_mistake_is_seen(plant, studio, measured):
    found = seen_in(plant, studio)
    assert found, f"all numbers hold over {[take.name for take in plant.takes]}"
    take, numbers = found
    measured.mistakes.append(f"planted: {plant.name} [{take.name}]: {'; '.join(numbers)}")


@pytest.mark.parametrize("take", dict.fromkeys((*PICTURE_FIRST, *SOUND_FIRST)), ids=lambda take: take.name)
def test_without_a_mistake_every_number_holds(take, studio):
    assert not fallen(studio.film(take))


def test_all_mistakes_are_registered():
    assert all(vars(mistakes)[plant.spoil.__name__] is plant.spoil for plant in PLANTS)
    assert len(PLANTS) == len({plant.name for plant in PLANTS}) > 40
