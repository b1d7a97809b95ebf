"""The nodes as a whole with the small model: lazy reading, caching, decoding."""

import copy
import gc
import weakref

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import latents, memory


def test_loaders_read_no_weights(run, monkeypatch, with_lora, names):
    monkeypatch.setattr("comfy.utils.load_torch_file", lambda *a, **k: pytest.fail("weights were read"))
    run("VAELoader", checkpoint=names.checkpoint, audio_file=names.checkpoint)
    run("TextEncoderLoader", text_encoder="gemma-3-small.safetensors", projection=names.checkpoint, device="cpu")
    run("UpsamplerLoader", upsampler=names.upsampler)
    assert not with_lora(0.5, 1.0).get_models()


def test_inputs_are_not_written(model, texts, stage_one, stage_two, upsampled, same):
    before = copy.deepcopy((upsampled, texts))
    stage_two(model, upsampled)
    stage_one(model, latent=stage_one(model), sigmas=torch.tensor([0.7, 0.3, 0.0]))
    assert same(upsampled, before[0])
    assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(texts, before[1], strict=True))


def test_same_result_after_everything_was_dropped(run, model, vae, texts, conditions, stage_one, same):
    first = stage_one(model)
    engine = weakref.ref(model.stage(1).module)
    model.built.parts.clear()
    gc.collect()
    mm.cleanup_models()
    assert engine() is None
    assert same(stage_one(model), first)


def test_decode_gives_one_film_three_ways(run, model, vae, stage_two, upsampled, names):
    latent = stage_two(model, upsampled)
    video, images, audio = run("AVDecode", latent=latent, vae=vae, tiling="auto", **names.tiles)
    assert images.shape == (9, 64, 128, 3) and images.min() >= 0 and images.max() <= 1
    assert audio["sample_rate"] == 48000 and audio["waveform"].shape[:2] == (1, 2)
    components = video.get_components()
    assert components.images is images and components.audio is audio and float(components.frame_rate) == 25.0
    whole = run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)[1]
    assert torch.equal(images, whole)
    tiled = run("AVDecode", latent=latent, vae=vae, tiling="custom", **names.tiles)[1]
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)


def test_latent_without_sound(run, model, vae, upsampled, names):
    silent = latents.make(latents.take(upsampled)[0], None, latents.info_of(upsampled))
    video, images, audio = run("AVDecode", latent=silent, vae=vae, tiling="auto", **names.tiles)
    assert audio is None and video.get_components().audio is None and len(images) == 9


def test_text_encoders_file_and_folder_agree(run, encoder, texts, names):
    single = run(
        "TextEncoderLoader", text_encoder="gemma-3-small.safetensors", projection=names.checkpoint, device="cpu"
    )
    again = run("TextEncode", text_encoder=single, prompt="a lake", negative_prompt="noise")
    for a, b in zip(texts, again, strict=True):
        assert torch.equal(a[0][0], b[0][0])


def test_result_that_is_not_finite_names_the_broken_weight(run, upsampled, names):
    fresh = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
    fresh.video_decoder().module.conv_out.conv.bias.data = torch.full_like(
        fresh.video_decoder().module.conv_out.conv.bias.data, float("nan")
    )
    with pytest.raises(LTXError, match="decoded video.*conv_out.conv.bias"):
        run("AVDecode", latent=upsampled, vae=fresh, tiling="off", **names.tiles)


def test_components_are_reused(model, stage_one, monkeypatch):
    stage_one(model)
    monkeypatch.setattr(memory, "build", lambda *a, **k: pytest.fail("built again"))
    stage_one(model)
