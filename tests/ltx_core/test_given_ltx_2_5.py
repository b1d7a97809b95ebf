"""Whole runs of a small LTX-2.5 to a sound, a film and references that are given, with the recipes of both its kinds.

The distilled model's steps make noise of their own, which must leave alone what is kept.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, Result, StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import (
    GivenFilm,
    GivenImage,
    GivenReference,
    GivenVoice,
    encode_film,
    encode_film_sound,
    encode_sound,
)
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.scripts.small_model_parts.sizes import ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import split_files, write_split_files
from ltx_duo.tests.ltx_core.test_given_film_runs import FLOAT, FPS, RATE, new, pictures, sound, stages  # noqa: F401

TOKENIZER = Path(__file__).resolve().parents[2] / ".local" / "tokenizer"
SIZE = LatentGeometry(128, 64, 25, FPS)
# Few steps, of which the first ones of stage one are not the last.
FEW = {"stage_one_sigmas": torch.tensor([1.0, 0.7, 0.4, 0.0]), "stage_two_sigmas": torch.tensor([0.9, 0.0])}


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small-2.5")
    write_split_files(folder, ltx_2_5(), TOKENIZER)
    files = split_files("ltx-2.5-small").below(folder)
    parts = (files.video_vae, files.diffusion_vae, files.audio_vae)
    return load_components(
        files.transformer, files.text_encoder, files.upsampler, parts, dtype=torch.float32, device="cpu"
    )


@pytest.fixture(params=Kind)
def components(request, dev):
    return replace(dev, variant=variant_of(request.param, dev.variant.generation))


def run(components, size: LatentGeometry = SIZE, loras=(), **settings) -> Result:
    guidance = components.variant.guidance
    if components.variant.kind is Kind.DEV:
        guidance = replace(guidance, stg_blocks=(1,))
    request = Request("a lake", size, guidance=guidance, **FEW | settings)
    return two_stage.generate(components, request, loras=loras)


def test_a_film_to_a_sound(components, stages):  # noqa: F811
    own = sound(25)
    shown = [GivenImage(pictures(1)[0])]
    result = run(components, sound=own, images=shown)
    assert torch.equal(result.waveform[0], own.waveform)
    expected = encode_sound(components.audio_encoder, own, SIZE, **FLOAT)
    for stage, latent in zip(stages, (result.stage_one, result.stage_two), strict=True):
        assert stage.audio.frozen and torch.equal(latent.audio, expected)
    other = run(components, sound=sound(25), images=shown)
    assert new(result.stage_one.video[:, :, 1:], other.stage_one.video[:, :, 1:])
    # The image is in its place, whatever the steps make of the rest.
    assert torch.equal(result.stage_two.video[:, :, 0], other.stage_two.video[:, :, 0])


def test_a_retake_keeps_all_but_its_window(components, stages):  # noqa: F811
    film = GivenFilm(pictures(), FPS, sound(), ((0.4, 0.6),))
    result = run(components, film=film)
    assert torch.equal(result.frames[:10], film.frames[:10]) and torch.equal(result.frames[15:], film.frames[15:])
    assert all(new(result.frames[i], film.frames[i]) for i in range(10, 15))
    begin, end = (round(second * RATE) for second in (0.4, 0.6))
    heard, own = result.waveform[0], film.sound.waveform
    assert torch.equal(heard[:, :begin], own[:, :begin]) and torch.equal(heard[:, end:], own[:, end:])
    audio = encode_film_sound(components.audio_encoder, film, SIZE, **FLOAT)
    stays = audio.mask[0] == 0
    sizes = (SIZE.half(), SIZE)
    for latent, size in zip((result.stage_one, result.stage_two), sizes, strict=True):
        video = encode_film(components.video_encoder, film, size, **FLOAT).latent
        assert torch.equal(latent.video[:, :, [0, 1, 3]], video[:, :, [0, 1, 3]])
        assert new(latent.video[:, :, 2], video[:, :, 2])
        assert torch.equal(latent.audio[:, :, stays], audio.latent[:, :, stays])
        assert new(latent.audio[:, :, ~stays], audio.latent[:, :, ~stays])
    sampler = getattr(stages[0].sampler, "func", stages[0].sampler).__name__
    ancestral = components.variant.kind is Kind.DISTILLED
    assert sampler == ("sample_euler_ancestral" if ancestral else "sample_euler")


def test_a_film_is_longer_at_both_ends(components):
    film = GivenFilm.added(pictures(), FPS, sound(), before=0.3, after=0.5, overlap=0.2)
    result = run(components, LatentGeometry(128, 64, film.total, FPS), film=film)
    assert film.total == len(result.frames) == 8 + 25 + 16
    assert torch.equal(result.frames[13:28], film.frames[5:20])
    heard, own = result.waveform[0], film.sound.waveform
    begin, end, shift = (round(frame / FPS * RATE) for frame in (13, 28, 8))
    assert torch.equal(heard[:, begin:end], own[:, begin - shift : end - shift])
    for part in (result.frames[:8], result.frames[33:], heard[:, :shift], heard[:, -shift:]):
        assert part.std() > 0


def test_a_film_gets_a_sound_and_stays_as_it_is(components, stages):  # noqa: F811
    film = GivenFilm(pictures(20, 90, 150), FPS, None, new_picture=False)
    result = run(components, film=film)
    assert result.frames is film.frames and all(stage.video.frozen for stage in stages)
    assert result.waveform.std() > 0


def test_the_diffusion_decoder_makes_the_window_of_a_retake(components):
    film = GivenFilm(pictures(), FPS, sound(), ((0.4, 0.6),), new_sound=False)
    conv, diffusion = (run(components, film=film, video_decoder=choice).frames for choice in ("conv", "diffusion"))
    for frames in (conv, diffusion):
        assert torch.equal(frames[:10], film.frames[:10]) and torch.equal(frames[15:], film.frames[15:])
    assert new(conv[10:15], diffusion[10:15])


def test_keyframes_are_generated_beside_a_film_that_is_given(components, stages):  # noqa: F811
    film = GivenFilm(pictures(), FPS, sound(), ((0.4, 0.6),))
    plain, led = (run(components, film=film, generated_keyframes=frames) for frames in ((), (12,)))
    assert [len(stage.video.conditions) for stage in stages] == [1, 1, 2, 1]
    assert torch.equal(led.frames[:10], film.frames[:10]) and torch.equal(led.frames[15:], film.frames[15:])
    assert plain.stage_one.video.shape == led.stage_one.video.shape
    assert new(plain.stage_one.video[:, :, 2], led.stage_one.video[:, :, 2])


def test_a_reference_and_a_voice(components, stages, tmp_path):  # noqa: F811
    out, width = components.transformer.transformer_blocks[0].attn1.to_q.weight.shape
    factors = {"lora_A": torch.randn(4, width) * 0.1, "lora_B": torch.randn(out, 4) * 0.1}
    tensors = {f"diffusion_model.transformer_blocks.0.attn1.to_q.{key}.weight": x for key, x in factors.items()}
    save_file(tensors, tmp_path / "ic.safetensors", {"reference_downscale_factor": "2"})
    lora = [StagedLoRA(LoRA.open(tmp_path / "ic.safetensors"), 1.0, 0.0)]
    given = {"voice": GivenVoice(sound(25), 2.0), "loras": lora}
    size = LatentGeometry(256, 128, 9, FPS)
    first, second = (run(components, size, references=[GivenReference(pictures(9))], **given) for _ in "ab")
    assert first.stage_one.video.shape == (1, *size.half().video_shape)
    assert new(first.stage_one.video, second.stage_one.video)
    assert [len(stage.audio.conditions) for stage in stages[:2]] == [1, 1]
    assert [len(stage.video.conditions) for stage in stages[:2]] == [1, 0]
