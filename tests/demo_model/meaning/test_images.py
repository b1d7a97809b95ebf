"""With a first frame: the clip is determined, and is compared with the drawn one before and after stage two."""

from statistics import mean

import pytest

from ltx_duo.tests.demo_model.meaning.measures import psnr
from ltx_duo.tests.demo_model.meaning.numbers import LORA_HELPS, OF_A_FILM, SKETCH_LIKE_DRAWN
from ltx_duo.tests.demo_model.meaning.takes import IMAGES

OF_IMAGES = [number for number in OF_A_FILM if any(map(number.applies, IMAGES))]


@pytest.mark.parametrize("number", OF_IMAGES, ids=lambda number: number.name)
def test_over_all_images(number, image_films, ceiling_films, measured):
    measured.check(number, "image", image_films, ceiling_films)


def test_stage_one_over_all_images(image_films, ceiling_films, measured):
    sketches, ceiling = ([film.sketch for film in films] for films in (image_films, ceiling_films))
    measured.check(SKETCH_LIKE_DRAWN, "image", sketches, ceiling)


def test_the_lora_brings_stage_two_nearer_to_the_drawn_clip(studio, image_films, measured):
    likeness, without = (
        mean(psnr(film.frames, film.drawn) for film in films)
        for films in (image_films, [studio.refined_without_lora(take) for take in IMAGES])
    )
    measured.compare("dB to the drawn clip, stage two with its LoRA over without", likeness, without, LORA_HELPS)
