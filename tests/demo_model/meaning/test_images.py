"""With a first frame: the clip is determined, and is compared with the drawn one before and after stage two."""

import pytest

from ltx_duo.tests.demo_model.meaning.numbers import OF_A_FILM, SKETCH_LIKE_DRAWN


@pytest.mark.parametrize("number", OF_A_FILM, ids=lambda number: number.name)
def test_over_all_images(number, image_films, ceiling_films, measured):
    measured.check(number, "image", image_films, ceiling_films)


def test_stage_one_over_all_images(image_films, ceiling_films, measured):
    sketches, ceiling = ([film.sketch for film in films] for films in (image_films, ceiling_films))
    measured.check(SKETCH_LIKE_DRAWN, "image", sketches, ceiling)
