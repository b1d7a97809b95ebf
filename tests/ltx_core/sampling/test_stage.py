"""A stage from its beginning to its end: how its streams begin, and that a stream which is given stays as it is."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, Kept, Keyframe
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts
from ltx_duo.ltx_core.sampling.patchify import patchify_audio, patchify_video
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.stage import AVLatent, Stage, Start, begin, sample_stage
from ltx_duo.ltx_core.transformer.runner import one_after_another
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, Scene  # noqa: F401 - DEVICE makes them GPU tests

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
SIGMAS = torch.tensor([0.9, 0.5, 0.0])
CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
STREAMS = ["video", "audio"]
SAMPLERS = [sample_euler, sample_res_2s]
FLOAT = {"dtype": torch.float32}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def given(rng) -> AVLatent:
    """A video and its sound, as a stage before may have left them."""
    video, audio = (torch.randn(1, *shape, generator=rng) for shape in (GEOMETRY.video_shape, GEOMETRY.audio_shape))
    return AVLatent(video, audio)


@pytest.fixture
def wilful(toy_model):
    """A model with an opinion of its own about every token."""
    return toy_model(lambda tokens, t, _p: torch.sin(3 * tokens) + t[..., None])


def tokens_of(latent: AVLatent) -> dict[str, torch.Tensor]:
    return {"video": patchify_video(latent.video), "audio": patchify_audio(latent.audio)}


def with_frozen(given: AVLatent, stream: str, **stage) -> Stage:
    """A stage in which one stream is given and the other is made from noise."""
    return Stage(GEOMETRY, SIGMAS, **{stream: Start(getattr(given, stream), frozen=True)}, **stage)


def other(stream: str) -> str:
    return STREAMS[1 - STREAMS.index(stream)]


def test_a_stage_without_more_words_is_noise(given):
    state = begin(Stage(GEOMETRY, SIGMAS), seeded())
    plain = seeded()
    for stream in STREAMS:
        own = getattr(state, stream)
        assert torch.equal(own.latent, torch.randn(own.latent.shape, generator=plain, dtype=torch.bfloat16))
        assert not own.clean.any() and (own.denoise_mask == 1).all() and not own.frozen


@pytest.mark.parametrize("scales", [(0.0, 1.0), (1.0, 0.0), (0.3, 0.8)])
def test_each_stream_has_a_noise_scale_of_its_own(given, scales):
    video, audio = (Start(getattr(given, stream), scale) for stream, scale in zip(STREAMS, scales, strict=True))
    state = begin(Stage(GEOMETRY, SIGMAS, video, audio), seeded(), **FLOAT)
    plain, tokens = seeded(), tokens_of(given)
    for stream, scale in zip(STREAMS, scales, strict=True):
        noise = torch.randn(tokens[stream].shape, generator=plain)
        expected = (1 - scale) * tokens[stream] + scale * noise
        assert torch.allclose(getattr(state, stream).latent, expected, atol=1e-6)


@pytest.mark.parametrize("stream", STREAMS)
def test_without_noise_a_stream_begins_as_it_is_given(given, stream):
    stage = Stage(GEOMETRY, SIGMAS, **{stream: Start(getattr(given, stream), noise_scale=0.0)})
    assert torch.equal(getattr(begin(stage, seeded(), **FLOAT), stream).latent, tokens_of(given)[stream])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_frozen_stream_comes_out_bit_for_bit(garbage_model, given, stream, dtype, sampler):
    stage = with_frozen(given, stream, guidance=LTX_2_3_DEV, sampler=sampler)
    result = sample_stage(garbage_model, stage, CONTEXTS, seeded(), dtype=dtype)
    assert torch.equal(getattr(result, stream), getattr(given, stream).to(dtype))
    assert not torch.equal(getattr(result, other(stream)), getattr(given, other(stream)).to(dtype))


@pytest.mark.parametrize("stream", STREAMS)
def test_the_model_reads_a_frozen_stream_as_clean(wilful, given, stream):
    """Its tokens have no noise, and the noise level that the other stream is gated by is 0."""
    sample_stage(wilful, with_frozen(given, stream), CONTEXTS, seeded(), **FLOAT)
    assert [getattr(call, other(stream)).sigma.item() for call in wilful.calls] == pytest.approx([0.9, 0.5])
    for call in wilful.calls:
        held, made = getattr(call, stream), getattr(call, other(stream))
        assert torch.equal(held.tokens, tokens_of(given)[stream])
        assert not held.timesteps.any() and held.sigma.tolist() == [0.0]
        assert torch.equal(made.timesteps, made.sigma.expand_as(made.timesteps))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_noise_scale_lays_nothing_over_a_frozen_stream(given, stream):
    stage = Stage(GEOMETRY, SIGMAS, **{stream: Start(getattr(given, stream), 0.7, frozen=True)})
    assert torch.equal(getattr(begin(stage, seeded(), **FLOAT), stream).latent, tokens_of(given)[stream])


@pytest.mark.parametrize("stream", STREAMS)
def test_freezing_changes_no_random_numbers(given, stream):
    """The other stream's noise, and what a next stage draws, are those of a seed without freezing."""
    generators = seeded(), seeded()
    free, held = (
        begin(stage, generator, **FLOAT)
        for stage, generator in zip((Stage(GEOMETRY, SIGMAS), with_frozen(given, stream)), generators, strict=True)
    )
    assert torch.equal(getattr(free, other(stream)).latent, getattr(held, other(stream)).latent)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_a_frozen_stream_needs_a_latent():
    with pytest.raises(ConditioningError, match="give the latent"):
        Start(frozen=True)


def test_a_stream_goes_back_to_the_latent_that_it_begins_from(given):
    for stream in STREAMS:
        stage = Stage(GEOMETRY, SIGMAS, **{stream: Start(getattr(given, stream))})
        assert torch.equal(getattr(begin(stage, seeded(), **FLOAT), stream).clean, tokens_of(given)[stream])


def test_conditions_come_in_their_order_and_before_the_noise(given, rng):
    """What is kept sets the whole mask; a first frame after it holds its own tokens, and a keyframe adds some."""
    image = torch.randn(1, 128, 1, 2, 3, generator=rng)
    conditions = Kept(given.video, torch.ones(1, 3, 2, 3)), FirstFrame(image), Keyframe(image, 8, 0.75)
    state = begin(Stage(GEOMETRY, SIGMAS, Start(given.video, 1.0, conditions)), seeded(), **FLOAT)
    assert state.video.denoise_mask[0, :, 0].tolist() == [0.0] * 6 + [1.0] * 12 + [0.25] * 6
    assert torch.equal(state.video.latent[:, :6], patchify_video(image))
    noise = torch.randn(1, 24, 128, generator=seeded())
    assert torch.allclose(state.video.latent[:, 6:18], noise[:, 6:18])
    assert torch.allclose(state.video.latent[:, 18:], 0.75 * patchify_video(image) + 0.25 * noise[:, 18:], atol=1e-6)


def test_sound_has_conditions_of_its_own(given):
    mask = torch.arange(18)[None] < 4
    audio = Start(given.audio, conditions=(Kept(given.audio, mask.float()),))
    state = begin(Stage(GEOMETRY, SIGMAS, Start(given.video), audio), seeded(), **FLOAT)
    assert state.audio.denoise_mask[0, :, 0].tolist() == [1.0] * 4 + [0.0] * 14
    assert (state.video.denoise_mask == 1).all()


def test_a_stage_without_sound(garbage_model):
    result = sample_stage(garbage_model, Stage(GEOMETRY, SIGMAS, audio=None), CONTEXTS, seeded())
    assert result.audio is None and result.video.shape == (1, *GEOMETRY.video_shape)


def test_noise_can_be_drawn_in_another_dtype(given):
    state = begin(Stage(GEOMETRY, SIGMAS), seeded(), noise_dtype=torch.float32)
    expected = torch.randn(state.video.latent.shape, generator=seeded())
    assert torch.equal(state.video.latent, expected.bfloat16())


def test_a_stage_asks_its_own_sampler_for_its_own_sigmas(garbage_model):
    """...and guides as it says."""
    for sampler, calls in ((sample_euler, 2), (sample_res_2s, 4)):
        garbage_model.calls.clear()
        for guidance, names in ((OFF, 1), (LTX_2_3_DEV, 4)):
            stage = Stage(GEOMETRY, torch.tensor([0.8, 0.4, 0.1]), guidance=guidance, sampler=sampler)
            sample_stage(garbage_model, stage, CONTEXTS, seeded())
            assert [len(call.passes) for call in garbage_model.calls[-calls:]] == [names] * calls
            assert garbage_model.calls[-calls].video.sigma.item() == pytest.approx(0.8)
        assert len(garbage_model.calls) == 2 * calls


def test_blocks_run_as_the_caller_says(rng):
    """Every evaluation goes through the runner that is handed in; without one the blocks run in their order."""
    scene, asked = Scene(rng), []
    contexts = Contexts(*scene.prompts[0], *scene.prompts[1])
    stage = Stage(GEOMETRY, SIGMAS, guidance=replace(LTX_2_3_DEV, stg_blocks=(2,)))

    def runner(blocks, plans, *inputs):
        asked.append(len(blocks))
        return one_after_another(blocks, plans, *inputs)

    handed, plain = (
        sample_stage(scene.model, stage, contexts, seeded(), device=scene.prompts[0][0].device, run_blocks=run)
        for run in (runner, None)
    )
    assert asked == [len(scene.model.transformer_blocks)] * 2
    assert torch.equal(handed.video, plain.video) and torch.equal(handed.audio, plain.audio)


def test_cancelling_is_looked_for_between_blocks(rng):
    class Cancelled(Exception):
        pass

    class Reporter:
        def check_cancel(self):
            if reached:
                raise Cancelled

        def step(self, *_):
            pass

    scene, reached = Scene(rng), []
    scene.model.transformer_blocks[1].register_forward_hook(lambda *_: reached.append(1))
    scene.model.transformer_blocks[2].register_forward_hook(lambda *_: pytest.fail("went on"))
    contexts = Contexts(*scene.prompts[0])
    with pytest.raises(Cancelled):
        sample_stage(
            scene.model, Stage(GEOMETRY, SIGMAS), contexts, seeded(), device=contexts.video.device, reporter=Reporter()
        )
