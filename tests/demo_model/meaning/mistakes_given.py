"""Mistakes that are easily made with a sound or a film that is given."""

from dataclasses import replace

import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.sampling.conditions import GivenFilm

from .plants import Run, plant
from .takes import REGIONS, RETAKES, SOUNDS


def _in_stage_two(run: Run, change) -> None:
    """`change(latent, options)` gives the options of stage two from what it starts with and from its own."""
    stage_two = two_stage.stage_two

    def changed(geometry, latent, *arguments, **options):
        return stage_two(geometry, latent, *arguments, **change(latent, options))

    run.patch.setattr(two_stage, "stage_two", changed)


@plant(phases=1, takes=SOUNDS[:1])
def given_sound_not_frozen_in_stage_two(run: Run) -> None:
    _in_stage_two(run, lambda latent, options: {**options, "audio": None})


@plant(phases=1, takes=REGIONS[:1])
def film_kept_as_the_upsampler_has_it(run: Run) -> None:
    def change(latent: two_stage.AVLatent, options: dict) -> dict:
        return {**options, "video": replace(options["video"], latent=latent.video)}

    _in_stage_two(run, change)


def _other_mask(run: Run, change) -> None:
    original = GivenFilm.video_mask
    run.patch.setattr(GivenFilm, "video_mask", lambda film, geometry: change(original(film, geometry)))


@plant(phases=0, takes=RETAKES[:1])
def window_one_latent_frame_late(run: Run) -> None:
    _other_mask(run, lambda mask: mask.roll(1, dims=1))


@plant(phases=0, takes=REGIONS[:1])
def mask_the_wrong_way_round(run: Run) -> None:
    _other_mask(run, lambda mask: 1 - mask)


@plant(phases=0, takes=SOUNDS[:1])
def noise_on_what_is_frozen(run: Run) -> None:
    """Nine tenths of the sound are noise, and stay so."""
    keeping = two_stage._keeping

    def keep(start, kept):
        begins = keeping(start, kept)
        if begins is None or not begins.frozen:
            return begins
        noise = torch.randn(begins.latent.shape, generator=torch.Generator().manual_seed(0))
        return replace(begins, latent=torch.lerp(begins.latent, noise, 0.9))

    run.patch.setattr(two_stage, "_keeping", keep)
