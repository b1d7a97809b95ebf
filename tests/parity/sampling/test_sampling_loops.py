"""Whole sampling loops and both stages against the vendor's pipelines, around one made-up velocity function."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core.sampling.conditions import shown_at
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, LTX_2_3_HQ, OFF, Contexts
from ltx_duo.ltx_core.sampling.samplers import named_sampler
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, STAGE_TWO, ltx2_sigmas
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler, start_stage

PIPELINES = "ltx-pipelines 1.0.0"
GEOMETRY = LatentGeometry(128, 64, 17, 24.0)
LAYERS, PERTURBED = 4, 2


@pytest.fixture
def contexts(rng):
    return Contexts(*torch.randn(4, 1, 5, 7, generator=rng))


def toy_velocity(tokens, timesteps, positions, context, other, perturbed):
    """Some velocity (B, T, 128) that depends on everything a transformer's does."""
    phase = positions.float().mean(-1).sum(1)[..., None] * 0.01
    velocity = torch.sin(1.3 * tokens.float() + timesteps.float()[..., None] + phase) + context.mean()
    if other is not None:
        velocity = velocity + 0.3 * torch.tanh(other.float().mean())
    if perturbed:
        velocity = velocity - 0.5 * torch.cos(tokens.float())
    return velocity.to(tokens.dtype)


class ToyModel:
    """Our transformer's interface."""

    params = SimpleNamespace(num_layers=LAYERS)

    def rope_tables(self, video_positions, audio_positions, reporter=None):
        return video_positions, audio_positions

    def __call__(self, video, audio, passes, run_blocks=None):
        result = []
        for p in passes:
            others = (None, None) if p.isolated or audio is None else (audio.tokens, video.tokens)
            pair = [
                toy_velocity(m.tokens, m.timesteps, m.rope, context, other, PERTURBED in blocks)
                for m, context, other, blocks in (
                    (video, p.video_context, others[0], p.perturbed_video_blocks),
                    (audio, p.audio_context, others[1], p.perturbed_audio_blocks),
                )
                if m is not None
            ]
            result.append((pair[0], pair[1] if len(pair) > 1 else None))
        return result


@pytest.fixture
def vendor_model(vendor):
    """The vendor's X0Model around the same velocities."""
    kinds = vendor.perturbations.PerturbationType

    def velocities(video, audio, perturbations):
        def perturbed(kind):
            return perturbations is not None and perturbations.any_in_batch(kind, PERTURBED)

        joined = not perturbed(kinds.SKIP_A2V_CROSS_ATTN)
        return tuple(
            toy_velocity(
                m.latent, m.timesteps[..., 0], m.positions, m.context, other if joined else None, perturbed(kind)
            )
            for m, other, kind in (
                (video, audio.latent, kinds.SKIP_VIDEO_SELF_ATTN),
                (audio, video.latent, kinds.SKIP_AUDIO_SELF_ATTN),
            )
        )

    return lambda **inputs: vendor.transformer.X0Model.forward(SimpleNamespace(velocity_model=velocities), **inputs)


@dataclass
class VendorStage:
    """One stage as the vendor's pipelines run it."""

    vendor: SimpleNamespace
    model: object
    guider: object
    dtype: torch.dtype
    tools: tuple = ()

    def noise(self, geometry, generator, conditionings=(), scale=1.0, video=None, audio=None):
        v = self.vendor
        shape = v.types.VideoPixelShape(1, geometry.frames, geometry.height, geometry.width, geometry.fps)
        noiser = v.noisers.GaussianNoiser(generator=generator)
        components = SimpleNamespace(
            video_patchifier=v.patchifiers.VideoLatentPatchifier(patch_size=1),
            audio_patchifier=v.patchifiers.AudioPatchifier(patch_size=1),
            video_scale_factors=v.types.VIDEO_SCALE_FACTORS,
            video_latent_channels=128,
        )
        options = {"dtype": self.dtype, "device": torch.device("cpu"), "noise_scale": scale}
        make = v.helpers.noise_video_state
        video_state, video_tools = make(shape, noiser, list(conditionings), components, initial_latent=video, **options)
        make = v.helpers.noise_audio_state
        audio_state, audio_tools = make(shape, noiser, [], components, initial_latent=audio, **options)
        self.tools = (video_tools, audio_tools)
        return [video_state, audio_state]

    def denoise_function(self, guidance, contexts):
        if guidance is OFF:
            return self.vendor.helpers.simple_denoising_func(contexts.video, contexts.audio, self.model)
        guiders = [
            self.guider(scales, guidance.skip_step, guidance.blocks(LAYERS), negative)
            for scales, negative in (
                (guidance.video, contexts.negative_video),
                (guidance.audio, contexts.negative_audio),
            )
        ]
        make = self.vendor.helpers.multi_modal_guider_denoising_func
        return make(*guiders, contexts.video, contexts.audio, self.model)

    def finish(self, states):
        pairs = zip(self.tools, states, strict=True)
        return [tools.unpatchify(tools.clear_conditioning(state)).latent for tools, state in pairs]


@pytest.fixture
def vendor_stage(vendor, vendor_model, float32_guider):
    return lambda dtype: VendorStage(vendor, vendor_model, float32_guider, dtype)


def test_noise_is_drawn_as_the_vendor_draws_it(parity, vendor_stage, image_items):
    for dtype in (torch.float32, torch.bfloat16):
        items = image_items(GEOMETRY, dtype)
        theirs, ours = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
        stage = vendor_stage(dtype)
        expected = stage.noise(GEOMETRY, theirs, items[0])
        state = start_stage(GEOMETRY, ours, images=items[1], dtype=dtype)
        for name, got, want in zip(("video", "audio"), state.modalities, expected, strict=True):
            parity.check(
                f"stage-one noise, {name}, {dtype}".replace("torch.", ""), PIPELINES, got.latent, want.latent, 0
            )
        assert torch.equal(ours.get_state(), theirs.get_state())


def test_stage_two_starts_as_the_vendors(parity, vendor_stage, image_items, rng):
    """The clean background of stage two is the upsampled latent, the images over it; the masks come from the images."""
    items, images = image_items(GEOMETRY, torch.float32, strengths=(0.4, 0.7))
    video, audio = (torch.randn(1, *shape, generator=rng) for shape in (GEOMETRY.video_shape, GEOMETRY.audio_shape))
    generators = [torch.Generator().manual_seed(6) for _ in range(2)]
    expected = vendor_stage(torch.float32).noise(GEOMETRY, generators[0], items, STAGE_TWO[0], video, audio)
    options = {"images": images, "noise_scale": STAGE_TWO[0], "dtype": torch.float32}
    state = start_stage(GEOMETRY, generators[1], video_latent=video, audio_latent=audio, **options)
    for name, got, want in zip(("video", "audio"), state.modalities, expected, strict=True):
        parity.check(f"stage two, {name}: clean background", PIPELINES, got.clean, want.clean_latent, 0)
        parity.check(f"stage two, {name}: denoise mask", PIPELINES, got.denoise_mask, want.denoise_mask, 0)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def run_vendor(loop, stage, states, sigmas, guidance, contexts):
    vendor, function = stage.vendor, stage.denoise_function(guidance, contexts)
    if loop == "euler":
        stepper = vendor.diffusion_steps.EulerDiffusionStep()
        return vendor.samplers.euler_denoising_loop(torch.as_tensor(sigmas), *states, stepper, function)
    if loop == "gradient_estimation":
        stepper = vendor.diffusion_steps.EulerDiffusionStep()
        run = vendor.samplers.gradient_estimating_euler_denoising_loop
        return run(torch.as_tensor(sigmas), *states, stepper, function)
    stepper = vendor.diffusion_steps.Res2sDiffusionStep()
    return vendor.samplers.res2s_audio_video_denoising_loop(
        torch.as_tensor(sigmas), *states, stepper, function, model_dtype=stage.dtype
    )


SAMPLERS = {name: named_sampler(name, seed=0) for name in ("euler", "res_2s", "gradient_estimation")}
GUIDED = replace(LTX_2_3_DEV, stg_blocks=(PERTURBED,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", ["no image", "one image", "strengths between 0 and 1"])
@pytest.mark.parametrize(
    "loop, guidance",
    [("euler", GUIDED), ("gradient_estimation", GUIDED), ("res_2s", LTX_2_3_HQ), ("res_2s", GUIDED)],
)
def test_sampling_loops(
    parity, vendor, vendor_stage, image_items, rng, contexts, loop, guidance, masked, dtype, monkeypatch
):
    """All loops over the same noised states, from the vendor's noiser, with every guidance pass.

    Token timesteps as in v1.2, which multiplies the mask by res_2s' float64 half sigma before rounding.  res_2s works
    in float64, where the order of a sum can turn a rounding to bfloat16 the other way now and then.
    """
    monkeypatch.setattr(vendor.helpers, "timesteps_from_mask", lambda mask, sigma: mask * sigma.view(1, 1, 1))
    strengths = {"no image": (), "one image": (1.0,), "strengths between 0 and 1": (0.4, 0.7)}[masked]
    items, _ = image_items(GEOMETRY, dtype, strengths, (0, 8)[: len(strengths)])
    stage = vendor_stage(dtype)
    states = stage.noise(GEOMETRY, rng, items)
    state = start_stage(GEOMETRY, rng, dtype=dtype)
    state = state.with_modalities(
        [
            replace(
                ours,
                latent=theirs.latent,
                clean=theirs.clean_latent,
                denoise_mask=theirs.denoise_mask,
                positions=theirs.positions,
            )
            for ours, theirs in zip(state.modalities, states, strict=True)
        ]
    )
    sigmas = ltx2_sigmas(6)
    expected = stage.finish(run_vendor(loop, stage, states, sigmas, guidance, contexts))
    got = run_sampler(SAMPLERS[loop], ToyModel(), state, sigmas, guidance, contexts).latents()
    exact = loop != "res_2s"
    tolerance = 0 if exact else (1e-6 if dtype == torch.float32 else 2**-7)
    for name, a, b in zip(("video", "audio"), got, expected, strict=True):
        what = f"{loop}, {len(guidance.blocks(LAYERS)) + 3} passes, {masked}, {name}, {dtype}".replace("torch.", "")
        parity.check(what, PIPELINES, a, b, tolerance)


def test_ancestral_euler(parity, contexts):
    """The schedule of distilled models, both modalities from one generator, around diffusers' scheduler."""
    from diffusers import LTXEulerAncestralRFScheduler

    sigmas = torch.tensor(DISTILLED_STAGE_ONE)
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(1), dtype=torch.float32)
    denoise, generator = guided_denoiser(ToyModel(), state, GUIDED, contexts), torch.Generator().manual_seed(10007)
    expected, schedulers = state, [LTXEulerAncestralRFScheduler() for _ in range(2)]
    for scheduler in schedulers:
        scheduler.set_timesteps(sigmas=sigmas)
    for step, sigma in enumerate(sigmas[:-1]):
        moved = []
        for scheduler, modality, x0 in zip(
            schedulers, expected.modalities, denoise(expected, sigma, step).x0, strict=True
        ):
            velocity = (modality.latent.float() - x0.float()) / sigma
            result = scheduler.step(velocity, scheduler.timesteps[step], modality.latent, generator)
            moved.append(result.prev_sample)
        expected = expected.with_latents(moved)
    got = named_sampler("euler_ancestral", seed=7)(denoise, state, sigmas)
    for name, a, b in zip(("video", "audio"), got.latents(), expected.latents(), strict=True):
        parity.check(f"euler_ancestral, 4 passes, {name}, float32", "diffusers 0.42.1", a, b, 2e-6)


def test_skipped_steps_in_the_loop(parity, vendor_stage, contexts):
    guidance = replace(GUIDED, skip_step=2)
    stage = vendor_stage(torch.float32)
    states = stage.noise(GEOMETRY, torch.Generator().manual_seed(1))
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(1), dtype=torch.float32)
    for loop in SAMPLERS:
        args = (ltx2_sigmas(7), guidance, contexts)
        expected = stage.finish(run_vendor(loop, stage, states, *args))
        got = run_sampler(SAMPLERS[loop], ToyModel(), state, *args).latents()
        for name, a, b in zip(("video", "audio"), got, expected, strict=True):
            parity.check(f"{loop}, skip step 2, {name}", PIPELINES, a, b, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["text-to-video", "image-to-video"])
def test_both_stages_from_one_generator(parity, vendor, vendor_stage, rng, contexts, kind, dtype):
    """Noise, 4 guided steps, enlargement, renoise, 3 refining steps; an image at strength 1, where versions agree."""
    small = GEOMETRY.half()
    stage = vendor_stage(dtype)
    theirs, ours = torch.Generator().manual_seed(10), torch.Generator().manual_seed(10)
    conditionings, images = {}, {}
    for geometry in (small, GEOMETRY):
        latent = torch.randn(1, 128, 1, geometry.latent_height, geometry.latent_width, generator=rng).to(dtype)
        item = vendor.conditioning.VideoConditionByLatentIndex(latent=latent, strength=1.0, latent_idx=0)
        conditionings[geometry] = [item] if kind == "image-to-video" else []
        images[geometry] = [shown_at(latent, 0)] if kind == "image-to-video" else []

    def enlarge(video):
        return video.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def reference_positions(states):
        # v1.0 rounds positions to bfloat16; v1.2 and we do not.
        return (
            states if dtype == torch.float32 else [replace(s, positions=p) for s, p in zip(states, exact, strict=True)]
        )

    exact = [small.video_positions(), small.audio_positions()]
    states = reference_positions(stage.noise(small, theirs, conditionings[small]))
    states = run_vendor("euler", stage, states, ltx2_sigmas(4), GUIDED, contexts)
    first = stage.finish(states)
    exact = [GEOMETRY.video_positions(), GEOMETRY.audio_positions()]
    scale = torch.tensor(STAGE_TWO)[0].item()
    states = stage.noise(GEOMETRY, theirs, conditionings[GEOMETRY], scale, enlarge(first[0]), first[1])
    states = reference_positions(states)
    expected = stage.finish(run_vendor("euler", stage, states, STAGE_TWO, OFF, contexts))

    state = start_stage(small, ours, images=images[small], dtype=dtype)
    video, audio = run_sampler(sample_euler, ToyModel(), state, ltx2_sigmas(4), GUIDED, contexts).latents()
    what = f"{kind}, {dtype}".replace("torch.", "")
    for name, a, b in zip(("video", "audio"), (video, audio), first, strict=True):
        parity.check(f"stage one, {what}, {name}", PIPELINES, a, b, 0)
    options = {"images": images[GEOMETRY], "noise_scale": scale, "dtype": dtype}
    state = start_stage(GEOMETRY, ours, video_latent=enlarge(video), audio_latent=audio, **options)
    got = run_sampler(sample_euler, ToyModel(), state, torch.tensor(STAGE_TWO), OFF, contexts).latents()
    for name, a, b in zip(("video", "audio"), got, expected, strict=True):
        parity.check(f"both stages, {what}, {name}", PIPELINES, a, b, 1e-6 if dtype == torch.float32 else 2**-5)
