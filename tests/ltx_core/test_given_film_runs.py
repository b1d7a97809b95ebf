"""Whole runs with a given film on a small model: what is kept comes out bit for bit, the rest is made twice."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError, VariantError
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.request import Request, Result
from ltx_duo.ltx_core.sampling.conditions import (
    GivenFilm,
    GivenImage,
    GivenSound,
    encode_film,
    encode_film_sound,
    encode_sound,
)
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF
from ltx_duo.ltx_core.video_vae import Tiling
from ltx_duo.scripts.small_model_parts.write import write_small_model
from ltx_duo.tests.watching import watch_stages

TOKENIZER = Path(__file__).resolve().parents[2] / ".local" / "tokenizer"
FPS, RATE = 25.0, 16000
FLOAT = {"dtype": torch.float32}


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    checkpoint, upsampler, _, gemma, _ = write_small_model(tmp_path_factory.mktemp("small"), TOKENIZER, 0)
    return load_components(checkpoint, gemma, upsampler, dtype=torch.float32, device="cpu")


@pytest.fixture
def stages(monkeypatch) -> list:
    return watch_stages(monkeypatch, two_stage)


def pictures(frames: int = 25, height: int = 64, width: int = 128) -> torch.Tensor:
    return torch.rand(frames, height, width, 3)


def sound(frames: int = 25, channels: int = 2, rate: int = RATE) -> GivenSound:
    return GivenSound(torch.randn(channels, round(frames / FPS * rate)) * 0.1, rate)


def request(film: GivenFilm, **settings) -> Request:
    """A step or two a stage, by far too few for a film that anybody would look at."""
    few = {"stage_one_sigmas": torch.tensor([1.0, 0.5, 0.0]), "stage_two_sigmas": torch.tensor([0.9, 0.0])}
    geometry = LatentGeometry(128, 64, film.total, film.fps)
    return Request("a lake", geometry, film=film, **({"guidance": OFF} | few | settings))


def run(components, film: GivenFilm, **settings) -> Result:
    return two_stage.generate(components, request(film, **settings))


def new(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether hardly any number is the same."""
    return (one != other).float().mean() > 0.95


def test_a_retake_keeps_all_but_its_window(components, stages):
    """Latent frame 2 is frames 9 to 16, 0.36 to 0.68 s; of its sound the latents from 10 on end after 0.4 s."""
    film = GivenFilm(pictures(), FPS, sound(), ((0.4, 0.6),))
    result = run(components, film, guidance=replace(LTX_2_3_DEV, stg_blocks=(1,)))
    assert torch.equal(result.frames[:10], film.frames[:10]) and torch.equal(result.frames[15:], film.frames[15:])
    assert all(new(result.frames[i], film.frames[i]) for i in range(10, 15))
    heard, own = result.waveform[0], film.sound.waveform
    begin, end = (round(second * RATE) for second in (0.4, 0.6))
    assert result.sample_rate == RATE and heard.shape == own.shape
    assert torch.equal(heard[:, :begin], own[:, :begin]) and torch.equal(heard[:, end:], own[:, end:])
    assert new(heard[:, begin:end], own[:, begin:end])
    # In the latents, each stage keeps its own encode of the film.
    geometry = LatentGeometry(128, 64, 25, FPS)
    encoded = encode_film_sound(components.audio_encoder, film, geometry, **FLOAT)
    stays = encoded.mask[0] == 0
    assert stays.nonzero().flatten().tolist() == [*range(10), *range(16, 25)]
    latents, sizes = (result.stage_one, result.stage_two), (geometry.half(), geometry)
    for stage, latent, size in zip(stages, latents, sizes, strict=True):
        picture = encode_film(components.video_encoder, film, size, **FLOAT).latent
        assert torch.equal(latent.video[:, :, [0, 1, 3]], picture[:, :, [0, 1, 3]])
        assert new(latent.video[:, :, 2], picture[:, :, 2])
        assert torch.equal(latent.audio[:, :, stays], encoded.latent[:, :, stays])
        assert new(latent.audio[:, :, ~stays], encoded.latent[:, :, ~stays])
        assert not stage.video.frozen and not stage.audio.frozen


@pytest.mark.parametrize("stage_one_sound", [True, False])
def test_without_a_new_sound_it_is_frozen_and_heard_as_it_was(components, stages, stage_one_sound):
    film = GivenFilm(pictures(), FPS, sound(channels=1, rate=44100), ((0.4, 0.6),), new_sound=False)
    result = run(components, film, stage_one_sound=stage_one_sound)
    assert torch.equal(result.waveform[0], film.sound.waveform) and result.sample_rate == 44100
    assert torch.equal(result.frames[:10], film.frames[:10]) and new(result.frames[10:15], film.frames[10:15])
    expected = encode_sound(components.audio_encoder, film.sound, LatentGeometry(128, 64, 25, FPS), **FLOAT)
    for stage, latent in zip(stages, (result.stage_one, result.stage_two), strict=True):
        assert stage.audio.frozen and stage.audio.noise_scale == 0 and torch.equal(latent.audio, expected)


def test_a_film_gets_a_sound_and_stays_as_it_is(components, stages):
    """Of any size, and shorter than what latents hold: nothing is cut or scaled of what comes out."""
    film = GivenFilm(pictures(20, 90, 150), FPS, None, new_picture=False)
    result = run(components, film)
    assert result.frames is film.frames and all(stage.video.frozen for stage in stages)
    assert result.sample_rate == 48000 and result.waveform.shape == (1, 2, round(20 / FPS * 48000))
    assert result.waveform.std() > 0
    for stage, size in zip(stages, ((64, 32), (128, 64)), strict=True):
        picture = encode_film(components.video_encoder, film, LatentGeometry(*size, 25, FPS), **FLOAT)
        assert torch.equal(stage.video.latent, picture.latent) and picture.everything


def test_a_film_is_longer_at_both_ends(components):
    """Its own frames and samples up to the overlap, where they stand now; the last ones that no latent holds are left
    out."""
    film = GivenFilm.added(pictures(27), FPS, sound(27), before=0.3, after=0.5, overlap=0.2)
    result = run(components, film)
    assert film.total == len(result.frames) == 8 + 25 + 16
    assert torch.equal(result.frames[13:28], film.frames[5:20])
    heard, own = result.waveform[0], film.sound.waveform
    begin, end, shift = (round(frame / FPS * RATE) for frame in (13, 28, 8))
    assert heard.shape[1] == round(49 / FPS * RATE)
    assert torch.equal(heard[:, begin:end], own[:, begin - shift : end - shift])
    for part in (result.frames[:8], result.frames[33:], heard[:, :shift], heard[:, -shift:]):
        assert part.std() > 0
    # The film's first latent frame is one frame; where frames stand before it, eight are made in its place.
    mask = film.video_mask(LatentGeometry(128, 64, 49, FPS))[0, :, 0, 0]
    assert mask.tolist() == [1, 1, 1, 0, 1, 1, 1]


def test_a_region_is_made_anew_in_space(components, stages):
    mask = torch.zeros(1, 64, 128)
    mask[:, 10:30, 70:90] = 1
    film = GivenFilm(pictures(), FPS, sound(), mask=mask, new_sound=False)
    result = run(components, film, tiling=Tiling(96, 32, 16, 8))
    outside = (mask == 0)[..., None].expand_as(film.frames)
    assert torch.equal(result.frames[outside], film.frames[outside])
    assert new(result.frames[~outside], film.frames[~outside])
    one, two = (stage.video.conditions[0].mask[0, 0].tolist() for stage in stages)
    assert one == [[0, 1]] and two == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_silent_film_gets_a_sound_or_stays_silent(components, stages):
    film = GivenFilm(pictures(12), FPS, None, ((0.2, 9.0),))
    spoken = run(components, film)
    assert len(spoken.frames) == 12 and torch.equal(spoken.frames[:5], film.frames[:5])
    assert spoken.waveform.shape == (1, 2, round(12 / FPS * 48000)) and spoken.sample_rate == 48000
    silent = run(components, replace(film, new_sound=False))
    assert silent.waveform is None and silent.sample_rate is None
    assert [stage.audio.frozen for stage in stages] == [False, False, True, True]
    # What the picture is made to is encoded silence, not zeros in the latent.
    quiet = GivenSound(torch.zeros(2, 16000), 16000)
    expected = encode_sound(components.audio_encoder, quiet, LatentGeometry(128, 64, 17, FPS), **FLOAT)
    assert torch.equal(stages[2].audio.latent, expected) and expected.std() > 0


def test_a_film_is_remade_to_a_sound_that_is_given(components, stages):
    """The given sound counts, not the film's own."""
    given = sound(25, 1, 22050)
    result = run(components, GivenFilm(pictures(), FPS, sound(), ((0.4, 0.6),)), sound=given)
    assert torch.equal(result.waveform[0], given.waveform) and result.sample_rate == 22050
    expected = encode_sound(components.audio_encoder, given, LatentGeometry(128, 64, 25, FPS), **FLOAT)
    for stage in stages:
        assert stage.audio.frozen and torch.equal(stage.audio.latent, expected)
        assert len(stage.video.conditions) == 1


def test_a_weak_start_begins_from_the_film(components, stages):
    film = GivenFilm(pictures(), FPS, sound())
    run(components, film, stage_one_sigmas=torch.tensor([0.6, 0.3, 0.0]))
    first, half = stages[0], LatentGeometry(64, 32, 25, FPS)
    assert torch.equal(first.video.latent, encode_film(components.video_encoder, film, half, **FLOAT).latent)
    assert first.audio.latent is not None and first.video.noise_scale == first.audio.noise_scale == pytest.approx(0.6)
    assert stages[1].video.noise_scale == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("film", "settings", "words"),
    [
        ({"new_picture": False}, {"images": [GivenImage(torch.zeros(8, 8, 3))]}, "images in it change nothing"),
        ({"new_picture": False}, {"sound": sound()}, "nothing is left to make"),
        ({"after": 8}, {"stage_one_sigmas": torch.tensor([0.6, 0.0])}, "first sigma is below 1"),
        ({}, {"geometry": LatentGeometry(128, 64, 33, FPS)}, "needs 25 frames"),
        ({}, {"geometry": LatentGeometry(128, 64, 25, 24.0)}, "25 frames a second, the film is made at 24"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_runs(film, settings, words):
    given = request(GivenFilm(pictures(), FPS, sound(), **film))
    with pytest.raises(LTXError, match=words):
        replace(given, **settings)


def test_keyframes_are_generated_by_models_that_have_learned_it(components, stages):
    asked = Request("a lake", LatentGeometry(128, 64, 25, FPS), generated_keyframes=[8])
    with pytest.raises(VariantError, match=r"which LTX-2\.5 has learned and this transformer, of LTX-2\.3, has not"):
        two_stage.generate(components, asked)
    assert not stages


def test_a_films_sound_needs_what_encodes_it(components, monkeypatch):
    monkeypatch.setattr(two_stage, "encode_prompt", lambda *_: pytest.fail("something was computed"))
    lacking = replace(components, audio_encoder=None)
    part = ((0.4, 0.6),)
    for film in (GivenFilm(pictures(), FPS, sound(), part), GivenFilm(pictures(), FPS, new_sound=False)):
        with pytest.raises(LTXError, match="no audio VAE encoder"):
            run(lacking, film)
