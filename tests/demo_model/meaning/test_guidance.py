"""Each guidance moves the result in its direction: stage one alone, from the same noise, at several scales."""

from dataclasses import replace
from statistics import mean

from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Guidance
from ltx_duo.tests.demo_model.meaning.measures import edge_sharpness, psnr
from ltx_duo.tests.demo_model.meaning.numbers import (
    CFG_HELPS,
    MODALITY_HELPS,
    PROMPT_HELPS,
    STG_HELPS,
    words_right,
)
from ltx_duo.tests.demo_model.meaning.takes import TEXTS

FEW = TEXTS[:4]
UNTOLD = tuple(take for take in TEXTS if not take.sound_told)


def with_scales(guidance: Guidance = LTX_2_3_DEV, **scales: float) -> Guidance:
    """The same scales for video and audio."""
    return replace(guidance, video=replace(guidance.video, **scales), audio=replace(guidance.audio, **scales))


def test_without_a_prompt_nothing_that_was_asked_for_is_there(studio, measured):
    default = mean(words_right(studio.film(take).sketch) for take in FEW)
    without = mean(words_right(studio.sketch(replace(take, prompt=""))) for take in FEW)
    measured.compare("words right, default over no prompt", default, without, PROMPT_HELPS)


def test_cfg_makes_edges_sharper(studio, measured):
    with_cfg, without = (
        mean(edge_sharpness(studio.sketch(take, with_scales(OFF, cfg=scale)).frames) for take in FEW)
        for scale in (3.0, 1.0)
    )
    measured.compare("edge sharpness, CFG 3 over CFG 1", with_cfg, without, CFG_HELPS)


def test_stg_leads_away_from_what_the_bypassed_block_makes(studio, measured):
    """At scale -1 the guided prediction is the one that it leads away from at scale 1."""

    def likeness(stg: float) -> float:
        pairs = [[studio.sketch(take, with_scales(OFF, stg=scale)).frames for scale in (stg, -1.0)] for take in FEW]
        return mean(psnr(*pair) for pair in pairs)

    measured.compare(
        "dB between the film and one of the bypassed block, STG 0 over STG 1", likeness(0.0), likeness(1.0), STG_HELPS
    )


def test_sound_that_is_told_nothing_follows_the_picture(studio, measured):
    """The sound's stream gets the empty prompt, so that it can know the shape's pitch from the picture alone."""

    def agreement(modality: float) -> float:
        guidance = with_scales(OFF, cfg=3.0, modality=modality)
        films = [studio.sketch(take, guidance, sound_untold=True) for take in UNTOLD]
        return mean(float(film.seen.shape is not None and film.heard.shape == film.seen.shape) for film in films)

    measured.compare(
        "sound's shape is the picture's, modality 3 over 0", agreement(3.0), agreement(0.0), MODALITY_HELPS
    )
