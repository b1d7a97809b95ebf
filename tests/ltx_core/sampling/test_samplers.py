import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.conditions import shown_at
from ltx_duo.ltx_core.sampling.euler import euler_step, sample_euler
from ltx_duo.ltx_core.sampling.euler_ancestral import ancestral_step
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.patchify import patchify_video
from ltx_duo.ltx_core.sampling.res_2s import coefficients, sample_res_2s, standardised_noise
from ltx_duo.ltx_core.sampling.samplers import SAMPLERS as NAMES
from ltx_duo.ltx_core.sampling.samplers import named_sampler
from ltx_duo.ltx_core.sampling.schedule import STAGE_TWO, ltx2_sigmas
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler, start_stage

FINAL = LatentGeometry(128, 64, 17, 24.0)
CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
SAMPLERS = {name: named_sampler(name, seed=3) for name in NAMES}


def images(geometry, generator, dtype, strength=1.0):
    shape = (1, 128, 1, geometry.latent_height, geometry.latent_width)
    return [
        shown_at(torch.randn(shape, generator=generator).to(dtype), frame, strength)
        for frame in (0, geometry.frames - 1)
    ]


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_conditioned_tokens_come_out_of_both_stages_bit_identical(sample, dtype, garbage_model, rng):
    """Whatever the model says: at strength 1 the first frame and the keyframe stay the encoded images."""
    generator = seeded()
    first = images(FINAL.half(), rng, dtype)
    state = start_stage(FINAL.half(), generator, images=first, dtype=dtype)
    state = run_sampler(sample, garbage_model, state, ltx2_sigmas(3), LTX_2_3_DEV, CONTEXTS)
    tokens = FINAL.half().video_tokens
    assert torch.equal(state.video.latent[:, :2], patchify_video(first[0].latent))
    assert torch.equal(state.video.latent[:, tokens:], patchify_video(first[1].latent))
    video, audio = state.latents()
    assert torch.equal(video[:, :, :1], first[0].latent) and video.shape == (1, *FINAL.half().video_shape)

    second = images(FINAL, rng, dtype)
    upsampled = video.repeat_interleave(2, -1).repeat_interleave(2, -2)
    state = start_stage(
        FINAL,
        generator,
        images=second,
        noise_scale=STAGE_TWO[0],
        video_latent=upsampled,
        audio_latent=audio,
        dtype=dtype,
    )
    video, audio = run_sampler(sample, garbage_model, state, STAGE_TWO, OFF, CONTEXTS).latents()
    assert torch.equal(video[:, :, :1], second[0].latent)
    assert video.shape == (1, *FINAL.video_shape) and audio.shape == (1, *FINAL.audio_shape)
    assert not torch.equal(video[:, :, 1:], upsampled[:, :, 1:])


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_a_perfect_model_is_followed_to_its_picture(sample, toy_model, rng):
    """With velocity (x - data) / t the prediction is the data at every step, and the end is the data."""
    state = start_stage(FINAL, seeded(), dtype=torch.float32)
    data = torch.randn(1, 1, 128, generator=rng)
    model = toy_model(lambda tokens, t, _p: (tokens - data) / t[..., None])
    for end in run_sampler(sample, model, state, ltx2_sigmas(4), OFF, CONTEXTS).modalities:
        assert torch.allclose(end.latent, data.expand_as(end.latent), atol=1e-4)


def test_euler_reaches_the_prediction_only_up_to_the_velocitys_rounding(rng):
    x, x0 = (torch.randn(1, 50, 128, generator=rng).bfloat16() for _ in range(2))
    end = euler_step(x, x0, torch.tensor(0.1), torch.tensor(0.0))
    velocity = ((x.double() - x0.double()) / 0.1).bfloat16()
    assert torch.allclose(end.double(), x.double() - 0.1 * velocity.double(), atol=0.02)
    assert (end - x0).abs().max() < 0.1 and not torch.equal(end, x0)


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_what_the_model_is_asked(sample, garbage_model, rng):
    once = sample is not SAMPLERS["res_2s"]
    state = start_stage(FINAL, seeded(), images=images(FINAL, rng, torch.float32, strength=0.4), dtype=torch.float32)
    sigmas = ltx2_sigmas(5)
    run_sampler(sample, garbage_model, state, sigmas, LTX_2_3_DEV, CONTEXTS)
    assert len(garbage_model.calls) == (5 if once else 11) and garbage_model.tables_made == 1
    for call in garbage_model.calls:
        assert [p.name for p in call.passes] == ["cond", "negative", "perturbed", "isolated"]
        assert call.passes[2].perturbed_video_blocks == {28 * 4 // 48}
        assert torch.equal(call.video.rope[1], state.video.positions) and call.audio.rope[0] == "audio"
        assert call.video.sigma.shape == (1,) and call.video.sigma.dtype == torch.float32
        expected = (state.video.denoise_mask * call.video.sigma)[..., 0]
        assert torch.allclose(call.video.timesteps, expected, rtol=1e-6)
        assert torch.equal(call.audio.timesteps, call.audio.sigma.expand(1, FINAL.audio_frames))
    asked = [call.video.sigma.item() for call in garbage_model.calls]
    if once:
        assert asked == sigmas[:-1].tolist()
    else:
        assert asked[::2] == pytest.approx([*sigmas[:-1].tolist(), 0.0011], rel=1e-6)
        halves = [(a * b) ** 0.5 for a, b in zip(asked[:-1:2], asked[2::2], strict=True)]
        assert asked[1::2] == pytest.approx(halves, rel=1e-6)


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_video_alone(sample, garbage_model, rng):
    state = start_stage(FINAL, seeded(), with_audio=False)
    silent = Contexts(CONTEXTS.video, negative_video=CONTEXTS.negative_video)
    video, audio = run_sampler(sample, garbage_model, state, ltx2_sigmas(2), LTX_2_3_DEV, silent).latents()
    assert audio is None and video.shape == (1, *FINAL.video_shape)
    for call in garbage_model.calls:
        assert call.audio is None and [p.name for p in call.passes] == ["cond", "negative", "perturbed"]


def test_a_batch_runs_its_passes_one_by_one_and_equals_single_samples(toy_model):
    guidance = Guidance(ModalityGuidance(3, 1, 3), ModalityGuidance(7, 1, 3))

    def velocity(tokens, t, guidance_pass):
        return torch.sin(tokens + t[..., None]) + 0.1 * len(guidance_pass.name)

    latents = start_stage(FINAL, seeded(), dtype=torch.float32).latents()
    pair = [torch.cat((latent, 0.5 * latent)) for latent in latents]
    model = toy_model(velocity)

    def run(video, audio):
        state = start_stage(
            FINAL, seeded(), video_latent=video, audio_latent=audio, noise_scale=0.0, dtype=torch.float32
        )
        return run_sampler(sample_euler, model, state, [0.9, 0.4, 0.0], guidance, CONTEXTS).latents()

    both = run(*pair)
    assert [len(call.passes) for call in model.calls] == [1] * 8
    for i in range(2):
        for got, expected in zip(both, run(*(latent[i : i + 1] for latent in pair)), strict=True):
            assert torch.equal(got[i : i + 1], expected)


@pytest.mark.parametrize("name, calls", [*((name, 3) for name in NAMES if name != "res_2s"), ("res_2s", 3 + 7)])
def test_skipped_steps_reuse_the_last_prediction(name, calls, garbage_model):
    """Seven steps guide 0, 3 and 6; res_2s also asks at every half step, and not at its last level (step 7)."""
    state = start_stage(FINAL, seeded())
    guidance = Guidance(ModalityGuidance(cfg=2), ModalityGuidance(), skip_step=2)
    run_sampler(SAMPLERS[name], garbage_model, state, ltx2_sigmas(7), guidance, CONTEXTS)
    assert len(garbage_model.calls) == calls


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_progress_and_previews(sample, garbage_model, rng):
    steps = 5 if sample is SAMPLERS["res_2s"] else 4

    class Reporter:
        seen: list = []

        def check_cancel(self):
            pass

        def step(self, done, total, video_x0=None):
            self.seen.append((done, total))
            assert video_x0.shape == (1, *FINAL.video_shape)
            assert torch.equal(video_x0[:, :, :1], first[0].latent)

    Reporter.seen = []
    first = images(FINAL, rng, torch.bfloat16)
    state = start_stage(FINAL, seeded(), images=first)
    run_sampler(sample, garbage_model, state, ltx2_sigmas(4), OFF, CONTEXTS, Reporter())
    assert Reporter.seen == [(i + 1, steps) for i in range(steps)]


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_model_is_named_with_the_step(sample, bad, toy_model):
    calls = []

    def velocity(tokens, _t, _p):
        calls.append(1)
        result = tokens.clone()
        if len(calls) == 8:  # the fourth time, for the sound
            result[0, 0, 0] = bad
        return result

    state = start_stage(FINAL, seeded())
    step = "2" if sample is SAMPLERS["res_2s"] else "4"  # or between two steps
    with pytest.raises(LTXError, match=rf"Step {step} \(sigma .* predicted audio is NaN or infinite.*damaged weights"):
        run_sampler(sample, toy_model(velocity), state, ltx2_sigmas(4), OFF, CONTEXTS)


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_the_same_inputs_give_the_same_bits_and_another_seed_others(sample, toy_model):
    def run(seed):
        model = toy_model(lambda tokens, t, _p: torch.tanh(tokens) + t[..., None])
        return run_sampler(sample, model, start_stage(FINAL, seeded(seed)), ltx2_sigmas(3), OFF, CONTEXTS).latents()

    one, again, other = run(3), run(3), run(4)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_res_2s_coefficients_integrate_a_constant_exactly():
    for h in (0.01, 0.3, 2.0, 4.5):
        a21, b1, b2 = coefficients(h)
        # d x / d h = x0 - x with constant x0 moves x by (1 - e^-h) of the way.
        assert h * (b1 + b2) == pytest.approx(1 - 2.718281828459045**-h, rel=1e-9)
        assert h * a21 == pytest.approx(1 - 2.718281828459045 ** (-h / 2), rel=1e-9)
        assert b2 > b1


def test_res_2s_noise_is_standardised_and_its_seed_counts(rng, toy_model):
    noise = standardised_noise(torch.empty(2, 9, 128), rng)
    assert noise.dtype == torch.float64
    for sample in noise:
        assert sample.mean().abs() < 1e-12 and abs(sample.std() - 1) < 1e-12
    model = toy_model(lambda tokens, _t, _p: torch.tanh(tokens))
    state = start_stage(FINAL, seeded(), dtype=torch.float32)
    runs = [
        run_sampler(sample_res_2s, model, state, ltx2_sigmas(2), OFF, CONTEXTS, noise_seed=seed).video.latent
        for seed in (-1, -1, 5)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_a_schedule_that_stops_above_zero_leaves_noise(toy_model):
    model = toy_model(lambda tokens, _t, _p: torch.tanh(tokens))
    state = start_stage(FINAL, seeded(), dtype=torch.float32)
    for name, sample in SAMPLERS.items():
        model.calls.clear()
        run_sampler(sample, model, state, [1.0, 0.7, 0.4], OFF, CONTEXTS)
        assert len(model.calls) == (4 if name == "res_2s" else 2)


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_what_is_kept_has_no_noise_at_any_level(sample, garbage_model, rng):
    first = images(FINAL, rng, torch.float32)
    state = start_stage(FINAL, seeded(), images=first, dtype=torch.float32)
    state = run_sampler(sample, garbage_model, state, [1.0, 0.7, 0.4], OFF, CONTEXTS)
    assert torch.equal(state.latents()[0][:, :, :1], first[0].latent)


@pytest.mark.parametrize("name", NAMES)
def test_which_samplers_a_seed_changes(name, toy_model):
    """Between its steps only ancestral Euler draws noise that depends on the run's seed."""
    model = toy_model(lambda tokens, t, _p: torch.tanh(tokens) + t[..., None])
    state = start_stage(FINAL, seeded(), dtype=torch.float32)
    ends = [
        run_sampler(named_sampler(name, seed), model, state, ltx2_sigmas(3), OFF, CONTEXTS).video.latent
        for seed in (5, 5, 6, 2**64 - 1)
    ]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2]) == torch.equal(ends[0], ends[3]) == (name != "euler_ancestral")


@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
def test_what_is_kept_carries_no_noise_between_the_steps(name, toy_model, rng):
    seen = []
    model = toy_model(lambda tokens, _t, _p: seen.append(tokens) or torch.tanh(tokens))
    state = start_stage(FINAL, seeded(), dtype=torch.float32, images=images(FINAL, rng, torch.float32))
    run_sampler(named_sampler(name, 3), model, state, ltx2_sigmas(4), OFF, CONTEXTS)
    kept = state.video.denoise_mask[0, :, 0] == 0
    of_video = [tokens for tokens in seen if tokens.shape[1] == len(kept)]
    assert len(of_video) == 4 and kept.any()
    assert all(torch.equal(tokens[0, kept], state.video.clean[0, kept]) for tokens in of_video)


def test_a_sampler_of_another_name_is_refused():
    with pytest.raises(LTXError, match="'heun'; expected one of euler, res_2s"):
        named_sampler("heun", 0)


def test_the_ancestral_step_keeps_the_variance(rng):
    """Of a state (1 - s) data + s noise whose data is known the step makes one at the next level."""
    data, old, new = torch.randn(3, 400_000, generator=rng)
    sigma, sigma_next = torch.tensor(0.9), torch.tensor(0.6)
    end = ancestral_step((1 - sigma) * data + sigma * old, data, sigma, sigma_next, new)
    assert float(end.var()) == pytest.approx(0.4**2 + 0.6**2, rel=0.02)
    assert float((end * data).mean()) == pytest.approx(0.4, abs=0.01)
