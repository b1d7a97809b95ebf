"""A stage without a picture: its length, its passes, every sampler, and a voice before it."""

import math
from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.conditions import Voice
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry, SoundGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts, Guidance
from ltx_duo.ltx_core.sampling.samplers import SAMPLERS, named_sampler
from ltx_duo.ltx_core.sampling.stage import begin, sample_stage
from ltx_duo.ltx_core.sound_only import SoundRequest, sound_stage

GEOMETRY = SoundGeometry(12)
SIGMAS = torch.tensor([1.0, 0.6, 0.2, 0.0])
FLOAT = {"dtype": torch.float32}
CONTEXTS = Contexts(None, torch.full((1, 2, 3), 1.0), None, torch.full((1, 2, 3), 2.0))


class TestLength:
    @pytest.mark.parametrize(
        ("seconds", "latents"), [(0.04, 1), (1.0, 25), (0.1, 2), (0.14, 4), (5.04, 126), (20, 500)]
    )
    def test_25_latents_a_second(self, seconds, latents):
        assert SoundGeometry.of_seconds(seconds).audio_frames == latents

    @pytest.mark.parametrize(("frames", "fps"), [(9, 24.0), (121, 24.0), (97, 25.0), (33, 30.0), (57, 16.0)])
    def test_as_the_sound_of_a_film_that_lasts_as_long(self, frames, fps):
        film, own = LatentGeometry(64, 64, frames, fps), SoundGeometry.of_seconds(frames / fps)
        assert own.audio_shape == film.audio_shape
        assert torch.equal(own.audio_positions(), film.audio_positions())

    @pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01, math.nan, math.inf])
    def test_what_is_no_length(self, seconds):
        with pytest.raises(LTXError, match=f"sound is to last {seconds} s, expected at least 0.04 s: use 5"):
            SoundRequest("", seconds)
        with pytest.raises(LTXError, match="sound of 0 latents is none"):
            SoundGeometry(0)


class TestSampling:
    @pytest.fixture
    def wilful(self, toy_model):
        return toy_model(lambda tokens, t, p: torch.sin(3 * tokens) + t[..., None] + p.audio_context.mean())

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_every_sampler_makes_a_sound_without_a_picture(self, wilful, name):
        shown = []

        class Reporter:
            def check_cancel(self): ...

            def step(self, done, total, video_x0=None):
                shown.append(video_x0)

        stage = sound_stage(GEOMETRY, SIGMAS, LTX_2_3_DEV, sampler=named_sampler(name, seed=3))
        made = sample_stage(wilful, stage, CONTEXTS, torch.Generator().manual_seed(1), **FLOAT, reporter=Reporter())
        assert made.video is None and made.audio.shape == (1, 8, 12, 16) and made.audio.isfinite().all()
        assert shown and not any(x0 is not None for x0 in shown)
        assert all(call.video is None for call in wilful.calls)

    def test_the_passes_are_the_sounds(self, wilful):
        """Video scales ask for nothing, the isolated pass does not exist, and video blocks are not bypassed."""
        state = begin(sound_stage(GEOMETRY, SIGMAS, OFF), torch.Generator().manual_seed(1), **FLOAT)
        both = guided_denoiser(wilful, state, LTX_2_3_DEV, CONTEXTS).passes
        assert [own.name for own in both] == ["cond", "negative", "perturbed"]
        assert both[2].perturbed_audio_blocks and not both[2].perturbed_video_blocks
        assert all(own.video_context is None for own in both)
        video_alone = Guidance(video=LTX_2_3_DEV.video)
        assert [own.name for own in guided_denoiser(wilful, state, video_alone, CONTEXTS).passes] == ["cond"]

    def test_a_voice_leads_the_sound(self, toy_model):
        """Before second 0 while it is sampled, gone afterwards, and not there in the pass that it leads away from."""
        seen = []

        def velocity(tokens, t, p):
            seen.append(tokens.shape[1])
            return tokens * tokens.shape[1] / 10

        model, given = toy_model(velocity), Voice(torch.randn(1, 8, 6, 16))
        stage = sound_stage(GEOMETRY, torch.tensor([1.0, 0.0]), replace(OFF, identity=3.0), voice=given)
        state = begin(stage, torch.Generator().manual_seed(1), **FLOAT)
        noise = state.audio.latent[:, :12]
        [x0] = guided_denoiser(model, state, stage.guidance, CONTEXTS)(state, torch.tensor(1.0), 0).x0
        assert seen == [18, 12]
        cond, without = noise - noise * 1.8, noise - noise * 1.2
        torch.testing.assert_close(x0[:, :12], cond + 3 * (cond - without))
        made = sample_stage(model, stage, CONTEXTS, torch.Generator().manual_seed(1), **FLOAT)
        assert made.audio.shape == (1, 8, 12, 16)
