"""With a first frame: the clip is determined, and is compared with the drawn one before and after stage two."""

import pytest

from ltx_duo.tests.demo_model.meaning.numbers import OF_A_FILM


@pytest.mark.parametrize("number", OF_A_FILM, ids=lambda number: number.name)
def test_over_all_images(number, image_films, ceiling_films, measured):
    wrong = [f"{film.take.name}: {number.of(film):.3g}" for film in image_films if not number.fits(film)]
    ceiling = number.over(ceiling_films)
    measured.check(f"{number.name} [image]", number, number.over(image_films), ceiling, wrong)
