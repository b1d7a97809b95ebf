"""Each guidance moves the result in its direction: stage one alone, from the same noise, at several scales."""

from dataclasses import replace
from statistics import mean

import pytest

from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Guidance
from ltx_duo.tests.demo_model.meaning.numbers import (
    CFG_HELPS,
    MODALITY_HELPS,
    PROMPT_HELPS,
    STG_HELPS,
    sharpness,
    words_right,
)
from ltx_duo.tests.demo_model.meaning.takes import TEXTS

FEW = TEXTS[:4]
UNTOLD = tuple(take for take in TEXTS if not take.sound_told)[:4]


def with_scales(guidance: Guidance = LTX_2_3_DEV, **scales: float) -> Guidance:
    """The same scales for video and audio."""
    return replace(guidance, video=replace(guidance.video, **scales), audio=replace(guidance.audio, **scales))


def test_without_a_prompt_nothing_that_was_asked_for_is_there(studio, measured):
    default = mean(words_right(studio.film(take).sketch) for take in FEW)
    without = mean(words_right(studio.sketch(replace(take, prompt=""))) for take in FEW)
    measured.compare("words right, default over no prompt", default, without, PROMPT_HELPS)


def test_cfg_1_is_worse_than_the_default(studio, measured):
    default = mean(words_right(studio.film(take).sketch) for take in FEW)
    without = mean(words_right(studio.sketch(take, with_scales(cfg=1.0))) for take in FEW)
    measured.compare("words right, default over CFG 1", default, without, CFG_HELPS)


def test_stg_makes_edges_sharper(studio, measured):
    films = [[studio.sketch(take, with_scales(OFF, stg=scale)) for take in FEW] for scale in (1.0, 0.0)]
    with_stg, without = (mean(sharpness(film.frames, film.seen) for film in row) for row in films)
    measured.compare("edge sharpness, STG 1 over STG 0", with_stg, without, STG_HELPS)


@pytest.mark.parametrize("scale", [3.0])
def test_sound_that_is_told_nothing_follows_the_picture(scale, studio, measured):
    """The sound's stream gets the empty prompt, so that it can know the shape's pitch from the picture alone."""

    def agreement(modality: float) -> float:
        films = [studio.sketch(take, with_scales(OFF, modality=modality), sound_untold=True) for take in UNTOLD]
        return mean(float(film.seen.shape is not None and film.heard.shape == film.seen.shape) for film in films)

    measured.compare(
        "sound's shape is the picture's, modality 3 over 0", agreement(scale), agreement(0.0), MODALITY_HELPS
    )
