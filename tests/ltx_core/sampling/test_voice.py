"""A reference voice: its tokens before the film's sound, identity guidance, and that nothing of it stays."""

import math
from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError, LTXError
from ltx_duo.ltx_core.request import Request
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, GivenSound, GivenVoice, Kept, Voice, encode_voice
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF, Contexts, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.patchify import patchify_audio
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.stage import Start, begin, sample_stage
from ltx_duo.ltx_core.sampling.state import audio_state
from ltx_duo.ltx_core.two_stage import stage_one, stage_two
from ltx_duo.tests.ltx_core.sampling.test_given_sound import encoder  # noqa: F401 - a fixture
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, Scene

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
SIGMAS = torch.tensor([1.0, 0.5, 0.0])
RATE = 16000


def voice(latents: int = 6) -> Voice:
    return Voice(torch.randn(1, 8, latents, 16))


def sound(seconds: float, channels: int = 1, start: float = 0.0) -> GivenSound:
    return GivenSound(torch.randn(channels, round(seconds * RATE)) * 0.1, RATE, start)


def test_tokens_stand_before_the_film_clean():
    """Latent i covers [max(4i - 3, 0), 4i + 1) hundredths; six of them end at 0.21 s, and then 0.04 s are left."""
    given = voice()
    plain = audio_state(GEOMETRY, dtype=torch.float32)
    made, own = given.apply(plain, GEOMETRY), GEOMETRY.audio_frames
    assert given.appended_tokens == 6 == made.latent.shape[1] - own
    begins = torch.tensor([0, 0.01, 0.05, 0.09, 0.13, 0.17]) - 0.25
    ends = torch.tensor([0.01, 0.05, 0.09, 0.13, 0.17, 0.21]) - 0.25
    assert torch.allclose(made.positions[0, 0, own:], torch.stack((begins, ends), dim=-1), atol=1e-6)
    assert torch.equal(made.positions[:, :, :own], plain.positions)
    assert torch.equal(made.clean[:, own:], patchify_audio(given.latent)) and not made.denoise_mask[:, own:].any()
    assert (made.denoise_mask[:, :own] == 1).all()


@pytest.fixture
def scene(rng):
    return Scene(rng)


def contexts(scene) -> Contexts:
    return Contexts(*scene.prompts[0], *scene.prompts[1])


def place(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(DEVICE, torch.bfloat16)


GUIDED = Guidance(ModalityGuidance(3.0, 1.0, 3.0, 0.7), ModalityGuidance(7.0, 1.0, 3.0, 0.7), stg_blocks=(2,))


@pytest.mark.parametrize("guidance", [OFF, GUIDED], ids=["off", "guided"])
def test_identity_leads_away_from_the_film_without_the_voice(scene, guidance):
    """x0 of both streams, after all other guidance; what has no voice is a stage of its own."""
    given = Voice(place(torch.randn(1, 8, 6, 16)))
    stage = stage_one(GEOMETRY, SIGMAS, guidance, voice=given)
    options = {"dtype": torch.bfloat16, "device": DEVICE}
    state = begin(stage, torch.Generator().manual_seed(1), **options)
    own = GEOMETRY.audio_frames

    def prediction(state, guidance):
        return guided_denoiser(scene.model, state, guidance, contexts(scene))(state, SIGMAS[0], 0).x0

    audio = state.audio
    cut = replace(
        audio, latent=audio.latent[:, :own], clean=audio.clean[:, :own], denoise_mask=audio.denoise_mask[:, :own],
        positions=audio.positions[:, :, :own],
    )  # fmt: skip
    led, plain = (prediction(state, replace(guidance, identity=scale)) for scale in (3.0, 0.0))
    seen, unseen = prediction(state, OFF), prediction(replace(state, audio=cut), OFF)
    for ours, base, cond, without in zip(led, plain, seen, unseen, strict=True):
        count = without.shape[1]
        away = cond[:, :count].float() - without.float()
        assert away.abs().max() > 1e-3
        expected = base[:, :count].float() + 3 * away
        # Passes that run together round by themselves in bfloat16.
        assert (ours[:, :count].float() - expected).abs().max() < 0.05 * expected.abs().max()
        assert torch.equal(ours[:, count:], base[:, count:])


def test_without_scale_there_is_no_pass_more(toy_model):
    calls = []
    model = toy_model(lambda tokens, t, p: calls.append((p.name, tokens.shape[1])) or tokens)
    words = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
    for scale, audio in ((0.0, [GEOMETRY.audio_frames + 6]), (3.0, [GEOMETRY.audio_frames + 6, GEOMETRY.audio_frames])):
        calls.clear()
        stage = stage_one(GEOMETRY, torch.tensor([1.0, 0.0]), replace(OFF, identity=scale), voice=voice())
        sample_stage(model, stage, words, torch.Generator().manual_seed(1), dtype=torch.float32)
        assert [tokens for _, tokens in calls[1::2]] == audio


@pytest.mark.parametrize("sampler", [None, sample_res_2s])
def test_nothing_of_the_voice_stays(toy_model, sampler):
    model = toy_model(lambda tokens, t, _p: torch.sin(3 * tokens) + t[..., None])
    words = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
    stage = stage_one(GEOMETRY, SIGMAS, OFF, voice=voice())
    stage = stage if sampler is None else replace(stage, sampler=sampler)
    made = sample_stage(model, stage, words, torch.Generator().manual_seed(1), dtype=torch.float32)
    assert made.audio.shape == (1, *GEOMETRY.audio_shape)
    again = stage_two(GEOMETRY, made, SIGMAS * 0.9, voice=voice())
    made = sample_stage(model, again, words, torch.Generator().manual_seed(1), dtype=torch.float32)
    assert made.audio.shape == (1, *GEOMETRY.audio_shape)


def test_a_part_of_the_sound_may_be_kept_beside_it():
    keep = Kept(torch.randn(1, *GEOMETRY.audio_shape), (torch.arange(GEOMETRY.audio_frames) > 4).float()[None])
    stage = stage_one(GEOMETRY, SIGMAS, OFF, audio=keep, voice=voice())
    state = begin(stage, torch.Generator().manual_seed(1), dtype=torch.float32)
    assert state.audio.latent.shape[1] == GEOMETRY.audio_frames + 6
    with pytest.raises(ConditioningError, match="given as a whole"):
        stage_one(GEOMETRY, SIGMAS, OFF, audio=Kept(keep.latent), voice=voice())


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_all_of_a_short_sound_is_encoded(encoder, channels):  # noqa: F811
    made = encode_voice(encoder, GivenVoice(sound(2.0, channels)), dtype=torch.float32)
    assert abs(made.appended_tokens - 50) <= 1
    later = encode_voice(encoder, GivenVoice(sound(2.0, channels, start=1.0)), dtype=torch.float32)
    assert abs(later.appended_tokens - 25) <= 1


def test_of_a_long_sound_its_first_20_seconds_are_read():
    given = GivenVoice(sound(60, start=3.0))
    assert given.used.waveform.shape == (1, 20 * RATE)
    assert torch.equal(given.used.waveform, given.sound.waveform[:, 3 * RATE : 23 * RATE])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GivenVoice(sound(0.1)), "lasts 0.10 s, expected at least 0.5 s"),
        (lambda: GivenVoice(sound(2.0, start=1.8)), "lasts 0.20 s"),
        (lambda: GivenVoice(sound(2.0, start=-1.0)), "would begin 1 s before"),
        (lambda: GivenVoice(sound(2.0), -1.0), "identity scale is -1"),
        (lambda: GivenVoice(sound(2.0), math.nan), "identity scale is nan"),
        (lambda: Voice(torch.randn(1, 8, 0, 16)), "voice's latent has shape"),
        (lambda: Voice(torch.randn(1, 128, 3, 2, 2)), "voice's latent has shape"),
    ],
)
def test_what_is_no_voice_is_refused(make, words):
    with pytest.raises(ConditioningError, match=words):
        make()


def test_a_voice_needs_a_sound_that_is_made():
    final, given = LatentGeometry(192, 128, 17, 24.0), GivenVoice(sound(2.0))
    film = GivenFilm(torch.rand(17, 128, 192, 3), 24.0, sound(1.0), new_sound=False)
    for beside in ({"sound": sound(1.0)}, {"film": film}):
        with pytest.raises(ConditioningError, match="the voice changes nothing"):
            Request("a lake", final, voice=given, **beside)
    assert Request("a lake", final, voice=given).voice is given
    with pytest.raises(LTXError, match="identity is inf"):
        Guidance(identity=math.inf)
    assert Start().conditions == ()
