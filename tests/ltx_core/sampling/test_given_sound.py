"""A sound that is given: its part of the film, what is encoded of it, and what a stage does with it."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.audio_vae import AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.progress import SILENT
from ltx_duo.ltx_core.sampling.conditions import GivenSound, Kept, encode_sound
from ltx_duo.ltx_core.sampling.conditions.sound import mixed_down
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry, audio_latents
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.stage import AVLatent, Stage, Start, sample_stage
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, Scene  # noqa: F401 - DEVICE makes them GPU tests

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
SIGMAS = torch.tensor([0.9, 0.5, 0.0])
PARAMS = AudioVAEParams(2, 2, 128, (1, 1, 1), 0, 8, 64, 16000, 160, 1024)


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    generator, module = torch.Generator().manual_seed(3), AudioEncoder(PARAMS)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = torch.rand(tensor.shape, generator=generator) * 0.2 + 0.01
    return module


def ramp(samples: int, channels: int = 2, rate: int = 1000, start: float = 0.0) -> GivenSound:
    """Every sample is its own number, of both channels."""
    return GivenSound(torch.arange(1.0, samples * channels + 1).view(channels, samples), rate, start)


class TestPart:
    def test_cut_from_start_on(self):
        part = ramp(2000, start=0.5).part(25, 25.0)
        assert torch.equal(part.waveform, ramp(2000).waveform[:, 500:1500]) and part.start == 0

    def test_filled_up_at_the_end(self):
        part = ramp(700, start=0.5).part(25, 25.0).waveform
        assert torch.equal(part[:, :200], ramp(700).waveform[:, 500:]) and not part[:, 200:].any()
        assert part.shape == (2, 1000)

    def test_a_film_that_begins_before_the_sound(self):
        part = ramp(700, start=-0.4).part(25, 25.0).waveform
        assert not part[:, :400].any() and torch.equal(part[:, 400:], ramp(700).waveform[:, :600])

    def test_the_part_of_a_part_is_itself_and_owns_its_memory(self):
        part = ramp(2000, start=0.5).part(25, 25.0)
        assert torch.equal(part.part(25, 25.0).waveform, part.waveform)
        assert part.waveform.untyped_storage().nbytes() == part.waveform.nbytes

    def test_what_is_never_heard_is_refused(self):
        ramp(700, start=-0.99).check(25, 25.0)
        with pytest.raises(ConditioningError, match=r"begins 1 s after the film, which lasts 1\.00 s"):
            ramp(700, start=-1.0).check(25, 25.0)

    def test_surround_is_mixed(self):
        """Each channel by itself: 5.1 as ITU-R BS.775 says, in FFmpeg's order."""
        half = math.sqrt(0.5)
        left, right = mixed_down(torch.eye(6))
        assert left.tolist() == pytest.approx([1, 0, half, 0, half, 0])
        assert right.tolist() == pytest.approx([0, 1, half, 0, 0, half])
        assert mixed_down(torch.eye(3)).tolist() == [pytest.approx([1 / 3] * 3)]
        assert torch.equal(mixed_down(torch.eye(8))[:, :6], mixed_down(torch.eye(6)))


class TestEncoding:
    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(0, 30),
        fps=st.sampled_from([1.0, 23.976, 24.0, 25.0, 29.97, 50.0, 240.0]),
        rate=st.sampled_from([1000, 8000, 16000, 22050, 44100, 48000]),
        seconds=st.floats(0.001, 3.0),
    )
    def test_as_many_latents_as_the_film_has(self, encoder, n, fps, rate, seconds):
        frames = 8 * n + 1
        if not 1 <= audio_latents(frames, fps) < 200:
            return
        sound = GivenSound(torch.zeros(2, math.ceil(seconds * rate)), rate)
        latent = encode_sound(encoder, sound, LatentGeometry(64, 64, frames, fps), dtype=torch.float32)
        assert latent.shape == (1, 8, audio_latents(frames, fps), 16) and latent.isfinite().all()

    def test_a_film_shorter_than_one_window_of_the_spectrogram(self, encoder):
        frame = LatentGeometry(64, 64, 1, 40.0)
        latent = encode_sound(encoder, GivenSound(torch.zeros(2, 1200), 48000), frame, dtype=torch.float32)
        assert latent.shape == (1, 8, 1, 16)

    def test_what_follows_a_short_sound_is_encoded_silence(self, encoder, rng):
        wave = torch.randn(2, 48000, generator=rng)
        short, silent = wave[:, :14400], wave.clone()
        silent[:, 14400:] = 0
        ours, expected = (
            encode_sound(encoder, GivenSound(samples, 48000), GEOMETRY, dtype=torch.float32)
            for samples in (short, silent)
        )
        assert torch.equal(ours, expected)
        assert ours[:, :, -1].std() > 0, "no zeros in the latent"

    def test_mono_is_heard_on_both_sides(self, encoder, rng):
        mono = torch.randn(1, 16000, generator=rng)
        one, two = (
            encode_sound(encoder, GivenSound(samples, 16000), GEOMETRY, dtype=torch.float32)
            for samples in (mono, mono.expand(2, -1))
        )
        assert torch.equal(one, two)


@pytest.fixture
def latent(rng) -> AVLatent:
    return AVLatent(*(torch.randn(1, *shape, generator=rng) for shape in (GEOMETRY.video_shape, GEOMETRY.audio_shape)))


@pytest.mark.parametrize("initial", [True, False])
def test_both_presets_keep_it(latent, initial):
    sound = torch.randn_like(latent.audio)
    stages = (
        two_stage.stage_one(GEOMETRY, SIGMAS, LTX_2_3_DEV, audio=Kept(sound), initial=latent if initial else None),
        two_stage.stage_two(GEOMETRY, latent, SIGMAS, audio=Kept(sound)),
    )
    for stage in stages:
        assert stage.audio == Start(sound, noise_scale=0.0, frozen=True)
        assert stage.video.noise_scale == (SIGMAS[0] if initial or stage is stages[1] else 1.0)


class TestGuidance:
    """Of what the model is asked: the vendor's audio guider is neutral, and has no negative prompt."""

    CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))

    def passes(self, model, latent, guidance: Guidance, contexts: Contexts = CONTEXTS) -> dict:
        stage = Stage(GEOMETRY, SIGMAS, audio=Start(latent.audio, frozen=True), guidance=guidance)
        sample_stage(model, stage, contexts, torch.Generator().manual_seed(0), dtype=torch.float32)
        return {own.name: own for own in model.calls[0].passes}

    def test_the_picture_is_guided_and_the_sound_is_not(self, garbage_model, latent):
        passes = self.passes(garbage_model, latent, replace(LTX_2_3_DEV, stg_blocks=(1,)))
        assert list(passes) == ["cond", "negative", "perturbed", "isolated"]
        assert passes["negative"].video_context is self.CONTEXTS.negative_video
        assert all(own.audio_context is self.CONTEXTS.audio for own in passes.values())
        assert passes["perturbed"].perturbed_video_blocks == {1}
        assert passes["perturbed"].perturbed_audio_blocks == frozenset()

    def test_guidance_of_the_sound_alone_asks_for_no_pass(self, garbage_model, latent):
        positive = Contexts(self.CONTEXTS.video, self.CONTEXTS.audio)
        passes = self.passes(garbage_model, latent, Guidance(audio=ModalityGuidance(7, 1, 3, 0.7)), positive)
        assert list(passes) == ["cond"]

    def test_a_silent_latent_of_one_value_is_kept(self, garbage_model, latent):
        """It has no deviation by which a prediction could be rescaled."""
        flat = torch.full_like(latent.audio, 0.5)
        stage = Stage(GEOMETRY, SIGMAS, audio=Start(flat, frozen=True), guidance=LTX_2_3_DEV)
        result = sample_stage(
            garbage_model, stage, self.CONTEXTS, torch.Generator().manual_seed(0), dtype=torch.float32
        )
        assert torch.equal(result.audio, flat)


def test_recorded_and_shared_passes_give_the_same_bits(rng, latent):
    """Passes together, as the nodes run them (on a GPU recorded), and one after the other without recording."""
    scene = Scene(rng)
    device = scene.prompts[0][0].device
    contexts = Contexts(*scene.prompts[0], *scene.prompts[1])
    stage = Stage(
        GEOMETRY, SIGMAS, audio=Start(latent.audio, 0.0, frozen=True), guidance=replace(LTX_2_3_DEV, stg_blocks=(2,))
    )
    recorded, plain = (
        sample_stage(scene.model, stage, contexts, torch.Generator().manual_seed(1), device=device, run_blocks=run)
        for run in (BlockGraphs(SILENT), None)
    )
    assert torch.equal(recorded.video, plain.video)
    for result in (recorded, plain):
        assert torch.equal(result.audio.cpu(), latent.audio.bfloat16())
