"""Previews while sampling: a moving picture where ComfyUI can show one, none when the user has them off."""

import comfy.latent_formats
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from safetensors.torch import save_file

from ltx_duo.ltx_core.video_vae.preview import PreviewDecoder
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


@pytest.fixture
def keep_decoder(monkeypatch, tmp_path):
    """`keep_decoder(version, green)`: puts a decoder for latents of `version` where ComfyUI keeps small decoders; its
    pictures are of one green in 0..255, if that is given."""
    paths, endings = folder_paths.folder_names_and_paths["vae_approx"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([*paths, str(tmp_path)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})

    def write(version: str, green: int | None = None, name: str = "own-preview.safetensors") -> None:
        decoder = PreviewDecoder((4, 4, 4, 4))
        if green is not None:
            torch.nn.init.zeros_(decoder.convs[-1].weight)
            decoder.convs[-1].bias.data = torch.tensor([-1.0, green / 127.5 - 1, -1.0])
        save_file(decoder.state_dict(), tmp_path / name, {"latents_of": version})

    return write


def test_decoder_of_these_latents_is_used_in_every_version(shown, method, model, stage_one, keep_decoder):
    method(LatentPreviewMethod.Auto)
    keep_decoder("2.3.0-other", 50, "a-preview.safetensors")
    keep_decoder(model.latents_of, 200, "b-preview.safetensors")
    shown.clear()
    stage_one(model, steps=3)
    found = pictures(shown)
    assert [(picture.size, picture.getpixel((5, 3))) for picture in found] == [((16, 8), (0, 200, 0))] * 3


def test_decoder_shows_one_frame_after_the_other(keep_decoder, model, method):
    from ltx_duo.nodes.comfyui.previews import previewer

    method(LatentPreviewMethod.Auto)
    keep_decoder(model.latents_of)
    show, latent = previewer(model.latents_of), 10 * torch.randn(1, 128, 2, 3, 5)
    kind, first, longest = show(latent)
    second, again = show(latent)[1], show(latent)[1]
    assert (kind, first.size) == ("JPEG", (40, 24)) and longest >= 40
    assert first.tobytes() == again.tobytes() != second.tobytes()
    assert previewer(model.latents_of)(latent[:, :, 1:])[1].tobytes() == second.tobytes()


def test_no_decoder_of_other_latents(keep_decoder, method, model, stage_one, shown):
    method(LatentPreviewMethod.Auto)
    keep_decoder("2.3.0-other", 200)
    shown.clear()
    stage_one(model, steps=3)
    assert all(picture.size == (2, 1) for picture in pictures(shown))


def test_broken_decoder_is_told_in_the_log(keep_decoder, method, model, stage_one, shown, tmp_path, caplog):
    method(LatentPreviewMethod.Auto)
    (tmp_path / "broken-preview.safetensors").write_bytes(b"no weights")
    shown.clear()
    stage_one(model, steps=3)
    assert all(picture.size == (2, 1) for picture in pictures(shown))
    assert "no previews by broken-preview.safetensors" in caplog.text


def test_none_when_off_also_by_a_decoder_of_its_own(keep_decoder, method, model, stage_one, shown):
    method(LatentPreviewMethod.NoPreviews)
    keep_decoder(model.latents_of, 200)
    shown.clear()
    stage_one(model, steps=2)
    assert shown and not pictures(shown)
