"""From words alone: what was asked for is seen and heard, over sixteen prompts."""

import pytest
import torch

from ltx_duo.demo_model.detectors import seen
from ltx_duo.demo_model.training.losses import psnr
from ltx_duo.demo_model.training.preview import FILE, enlarged, shown
from ltx_duo.ltx_core.safetensors_file import SafetensorsFile
from ltx_duo.ltx_core.video_vae.preview import load_preview_decoder
from ltx_duo.scripts.demo.models import TRAINED
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


@torch.no_grad()
def test_previews_of_stage_one_show_what_it_makes(text_films):
    """Pictures that ComfyUI shows when stage one ends, beside the decoded ones: colours, and decibels above one."""
    decoder, better, colours = load_preview_decoder(SafetensorsFile.open(TRAINED / FILE)), [], 0
    for sketch in (film.sketch for film in text_films):
        made = enlarged(decoder(sketch.latent.video[0].transpose(0, 1)), sketch.size)
        frames = sketch.frames[shown(len(sketch.frames))].movedim(-1, 1) * 2 - 1
        alone = frames.mean(dim=(2, 3), keepdim=True).expand_as(frames)
        better.append(float((psnr(made, frames) - psnr(alone, frames)).mean()))
        colours += seen((made.movedim(1, -1).clamp(-1, 1) + 1) / 2).colour == sketch.seen.colour
    assert sum(better) / len(better) >= 5
    assert colours >= 13
