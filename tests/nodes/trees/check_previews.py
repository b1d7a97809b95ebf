"""Previews while sampling: a moving picture where ComfyUI can show one, none when the user has them off."""

import comfy.latent_formats
import comfy.utils
import folder_paths
import pytest
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image

from ltx_duo.nodes.comfyui import compat

# Older versions have no colours for these latents.
COLOURS = hasattr(comfy.latent_formats, "LTXAV") and comfy.latent_formats.LTXAV().latent_rgb_factors is not None


@pytest.fixture
def shown(monkeypatch):
    """Everything that the progress bar was given."""
    values = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0, raising=False)
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview=None, node_id=None: values.append((value / total, preview))
    )
    yield values
    comfy.utils.set_progress_bar_global_hook(None)


@pytest.fixture
def method(monkeypatch):
    return lambda choice: monkeypatch.setattr(args, "preview_method", choice)


def pictures(shown) -> list[Image.Image]:
    return [preview[1] for _, preview in shown if preview is not None]


@pytest.mark.parametrize("stage", [1, 2])
def test_every_step_of_both_stages_shows_the_next_frame(stage, shown, method, model, stage_one, stage_two, upsampled):
    method(LatentPreviewMethod.Auto)
    shown.clear()
    if stage == 1:
        stage_one(model, steps=3)
        size, frames = (2, 1), 3
    else:
        stage_two(model, upsampled)
        size, frames = (4, 2), 3
    found = pictures(shown)
    assert len(found) == (frames if COLOURS else 0)
    assert all(picture.size == size for picture in found)
    if COLOURS:
        assert len({picture.tobytes() for picture in found}) > 1
    fractions = [fraction for fraction, _ in shown]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_none_when_off_and_the_film_is_the_same(shown, method, model, stage_one, same):
    method(LatentPreviewMethod.Auto)
    with_previews = stage_one(model)
    shown.clear()
    method(LatentPreviewMethod.NoPreviews)
    assert same(stage_one(model), with_previews)
    assert shown and not pictures(shown)


def test_small_decoder_is_used_where_its_file_is(monkeypatch):
    if not COLOURS:
        assert compat.preview_format() is None
        return
    assert compat.preview_format().taesd_decoder_name is None
    names = folder_paths.get_filename_list
    monkeypatch.setattr(
        folder_paths,
        "get_filename_list",
        lambda folder: ["taeltx_2_3.safetensors"] if folder == "vae_approx" else names(folder),
    )
    assert compat.preview_format().taesd_decoder_name == "taeltx_2"
