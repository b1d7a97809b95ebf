"""Sampling against the vendor's own classes and loops (v1.0, the newest on a package index).

Where v1.2 changed something (bounds and noisy start of keyframes, masked renoise between 0 and 1, guidance in float32)
its source cannot be installed here; the expected difference to v1.0 is written out from v1.2's formula instead.
"""

import importlib
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core.sampling.conditioning import ImageLatent, apply_images, resize_and_crop
from ltx_duo.ltx_core.sampling.euler import euler_step, sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import (
    LTX_2_3_DEV,
    LTX_2_3_HQ,
    OFF,
    Contexts,
    Guidance,
    ModalityGuidance,
    combine,
)
from ltx_duo.ltx_core.sampling.noise import draw_noise, noised
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, STAGE_TWO, ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import start_stage
from ltx_duo.ltx_core.sampling.state import audio_state, video_state

VENDOR = "ltx-core 1.0.0"
PIPELINES = "ltx-pipelines 1.0.0"
GEOMETRY = LatentGeometry(128, 64, 17, 24.0)
LAYERS, PERTURBED = 4, 2


@pytest.fixture(scope="module")
def vendor():
    """The vendor's modules by short names."""
    return SimpleNamespace(
        **{
            name.rsplit(".", 1)[-1]: importlib.import_module(name)
            for name in (
                "ltx_core.types",
                "ltx_core.tools",
                "ltx_core.components.schedulers",
                "ltx_core.components.noisers",
                "ltx_core.components.guiders",
                "ltx_core.components.diffusion_steps",
                "ltx_core.components.patchifiers",
                "ltx_core.conditioning",
                "ltx_core.guidance.perturbations",
                "ltx_core.model.transformer",
                "ltx_pipelines.utils.constants",
                "ltx_pipelines.utils.helpers",
                "ltx_pipelines.utils.media_io",
                "ltx_pipelines.utils.samplers",
            )
        }
    )


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

    def rope_tables(self, video_positions, audio_positions):
        return video_positions, audio_positions

    def __call__(self, video, audio, passes, reporter=None):
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
            float32_guider(self.vendor, guidance, scales, negative)
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


def float32_guider(vendor, guidance, scales, negative):
    """The vendor's v1.0 guider with the casts that v1.2 put around its arithmetic; in float32 it is v1.0's itself."""
    params = vendor.guiders.MultiModalGuiderParams(
        cfg_scale=scales.cfg,
        stg_scale=scales.stg,
        rescale_scale=scales.rescale,
        modality_scale=scales.modality,
        skip_step=guidance.skip_step,
        stg_blocks=sorted(guidance.blocks(LAYERS)),
    )

    class Guider(vendor.guiders.MultiModalGuider):
        def calculate(self, cond, *others):
            others = [x.float() if isinstance(x, torch.Tensor) else x for x in others]
            return super().calculate(cond.float(), *others).to(cond.dtype)

    return Guider(params=params, negative_context=negative)


def test_schedules(parity, vendor):
    scheduler = vendor.schedulers.LTX2Scheduler()
    for steps in (2, 4, 8, 15, 30, 40):
        parity.check(f"sigmas, {steps} steps", VENDOR, ltx2_sigmas(steps), scheduler.execute(steps=steps), 0)
    for geometry in (LatentGeometry(960, 544, 121, 24.0), GEOMETRY, LatentGeometry(1280, 704, 257, 25.0)):
        latent = torch.empty(1, *geometry.video_shape)
        ours = ltx2_sigmas(15, tokens=geometry.video_tokens)
        parity.check(
            f"sigmas, HQ, {geometry.video_tokens} tokens", VENDOR, ours, scheduler.execute(15, latent=latent), 0
        )
    # The vendor's single step is an accident of rounding, 0.1 or NaN; ours starts where the noise is.
    single = scheduler.execute(steps=1)[0]
    assert (single.isnan() or single < 0.2) and ltx2_sigmas(1).tolist() == [1, 0]
    assert list(DISTILLED_STAGE_ONE) == vendor.constants.DISTILLED_SIGMA_VALUES
    assert list(STAGE_TWO) == vendor.constants.STAGE_2_DISTILLED_SIGMA_VALUES


@pytest.mark.parametrize("ours, name", [(LTX_2_3_DEV, "LTX_2_3_PARAMS"), (LTX_2_3_HQ, "LTX_2_3_HQ_PARAMS")])
def test_presets(vendor, ours, name):
    theirs = getattr(vendor.constants, name)
    for scales, params in ((ours.video, theirs.video_guider_params), (ours.audio, theirs.audio_guider_params)):
        expected = (params.cfg_scale, params.stg_scale, params.modality_scale, params.rescale_scale)
        assert (scales.cfg, scales.stg, scales.modality, scales.rescale) == expected
        assert sorted(ours.blocks(48)) == params.stg_blocks and ours.skip_step == params.skip_step


def test_shapes_and_positions(parity, vendor):
    for width, height, frames, fps in (
        (768, 512, 121, 24.0),
        (64, 96, 17, 25.0),
        (128, 64, 9, 23.976),
        (32, 32, 1, 10.0),
    ):
        geometry = LatentGeometry(width, height, frames, fps)
        shape = vendor.types.VideoPixelShape(1, frames, height, width, fps)
        video_shape = vendor.types.VideoLatentShape.from_pixel_shape(shape, 128)
        audio_shape = vendor.types.AudioLatentShape.from_video_pixel_shape(shape)
        assert (1, *geometry.video_shape) == video_shape.to_torch_shape()
        assert (1, *geometry.audio_shape) == audio_shape.to_torch_shape()
        video_tools = vendor.tools.VideoLatentTools(vendor.patchifiers.VideoLatentPatchifier(1), video_shape, fps)
        audio_tools = vendor.tools.AudioLatentTools(vendor.patchifiers.AudioPatchifier(1), audio_shape)
        for what, tools, positions in (
            ("video", video_tools, geometry.video_positions()),
            ("audio", audio_tools, geometry.audio_positions()),
        ):
            theirs = tools.create_initial_state(torch.device("cpu"), torch.float32).positions
            parity.check(f"{what} positions {width}x{height}x{frames}@{fps:g}", VENDOR, positions, theirs, 0)


def test_resize_and_crop(parity, vendor, rng):
    for source, target in (((37, 91), (64, 64)), ((301, 200), (96, 128)), ((65, 65), (64, 96)), ((1, 3), (32, 32))):
        image = torch.randint(0, 256, (*source, 3), generator=rng, dtype=torch.uint8)
        theirs = vendor.media_io.resize_and_center_crop(image.float(), *target)
        theirs = vendor.media_io.normalize_latent(theirs, torch.device("cpu"), torch.float32)
        ours = resize_and_crop(image.float() / 255, width=target[1], height=target[0])
        parity.check(f"image {source} to {target}", PIPELINES, ours, theirs, 0)


def image_items(vendor, rng, dtype, strengths=(1.0, 1.0), frames=(0, 8)):
    """The same images as the vendor's conditioning items and as ours."""
    shape = (1, 128, 1, GEOMETRY.latent_height, GEOMETRY.latent_width)
    ours = [
        ImageLatent(torch.randn(shape, generator=rng).to(dtype), frame, strength)
        for frame, strength in zip(frames, strengths, strict=True)
    ]
    by_index, by_frame = (
        vendor.conditioning.VideoConditionByLatentIndex,
        vendor.conditioning.VideoConditionByKeyframeIndex,
    )
    theirs = [
        by_index(latent=i.latent, strength=i.strength, latent_idx=0)
        if i.frame == 0
        else by_frame(keyframes=i.latent, frame_idx=i.frame, strength=i.strength)
        for i in ours
    ]
    return theirs, ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_conditioning_items(parity, vendor, rng, dtype):
    """v1.2 leaves the noisy tokens as they are (zeros for keyframes), and a lone keyframe lasts one pixel frame."""
    theirs_items, ours_items = image_items(vendor, rng, dtype, strengths=(0.7, 0.6))
    shape = vendor.types.VideoLatentShape(1, *GEOMETRY.video_shape)
    tools = vendor.tools.VideoLatentTools(vendor.patchifiers.VideoLatentPatchifier(1), shape, GEOMETRY.fps)
    initial = torch.randn(1, *GEOMETRY.video_shape, generator=rng).to(dtype)
    theirs = tools.create_initial_state(torch.device("cpu"), dtype, initial)
    theirs = vendor.helpers.state_with_conditionings(theirs, theirs_items, tools)
    ours = apply_images(video_state(GEOMETRY, initial=initial, dtype=dtype), ours_items, GEOMETRY)
    what = f"images, {dtype}".replace("torch.", "")
    parity.check(f"{what}: denoise mask", VENDOR, ours.denoise_mask, theirs.denoise_mask, 0)
    parity.check(f"{what}: clean tokens", VENDOR, ours.clean, theirs.clean_latent, 0)
    per_frame, tokens = GEOMETRY.frame_tokens, GEOMETRY.video_tokens
    assert torch.equal(ours.latent[:, per_frame:tokens], theirs.latent[:, per_frame:tokens])
    assert torch.equal(ours.latent[:, :tokens], video_state(GEOMETRY, initial=initial, dtype=dtype).latent)
    assert not ours.latent[:, tokens:].any() and torch.equal(theirs.latent[:, tokens:], theirs.clean_latent[:, tokens:])

    expected = theirs.positions.float().clone()
    if dtype == torch.bfloat16:  # v1.0 rounds the grid's positions, though not a keyframe's
        expected[:, :, :tokens] = GEOMETRY.video_positions()
    expected[:, 0, tokens:, 1] = expected[:, 0, tokens:, 0] + 1 / GEOMETRY.fps
    parity.check(f"{what}: positions, v1.2's keyframe length", VENDOR, ours.positions, expected, 1e-6)


def test_noise_is_drawn_as_the_vendor_draws_it(parity, vendor, rng, vendor_model):
    for dtype in (torch.float32, torch.bfloat16):
        items = image_items(vendor, rng, dtype)
        theirs, ours = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
        stage = VendorStage(vendor, vendor_model, dtype)
        expected = stage.noise(GEOMETRY, theirs, items[0])
        state = start_stage(GEOMETRY, ours, images=items[1], dtype=dtype)
        for name, got, want in zip(("video", "audio"), state.modalities, expected, strict=True):
            parity.check(f"stage-one noise, {name}, {dtype}".replace("torch.", ""), VENDOR, got.latent, want.latent, 0)
        assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_renoise(parity, vendor, rng, dtype):
    """v1.0 mixes noise into the (already replaced) latent by mask * scale; v1.2 goes from clean to the mix by the mask.

    They are one where the mask is 0 or 1.  Between, by their formulas, they differ by m (1 - s) (latent - image).
    """
    scale, tolerance = STAGE_TWO[0], 1e-6 if dtype == torch.float32 else 2**-7
    initial = torch.randn(1, *GEOMETRY.video_shape, generator=rng).to(dtype)
    for strength in (1.0, 0.0, 0.35):
        image = image_items(vendor, rng, dtype, strengths=(strength,), frames=(0,))[1]
        state = apply_images(video_state(GEOMETRY, initial=initial, dtype=dtype), image, GEOMETRY)
        replaced = torch.cat((state.clean[:, : GEOMETRY.frame_tokens], state.latent[:, GEOMETRY.frame_tokens :]), dim=1)
        reference = vendor.types.LatentState(replaced, state.denoise_mask, state.positions, state.clean)
        seed = torch.Generator().manual_seed(11)
        theirs = vendor.noisers.GaussianNoiser(generator=seed)(reference, scale).latent
        noise = draw_noise(state.latent.shape, torch.Generator().manual_seed(11), dtype=dtype)
        ours = noised(state, noise, scale).latent
        m = state.denoise_mask.double()
        expected = theirs.double() + m * (1 - scale) * (state.latent.double() - replaced.double())
        parity.check(f"renoise, strength {strength}, {dtype}".replace("torch.", ""), VENDOR, ours, expected, tolerance)
        if strength == 1.0:
            count = GEOMETRY.frame_tokens
            assert torch.equal(ours[:, :count], theirs[:, :count])


def test_guider(parity, vendor, rng):
    x0 = {name: torch.randn(1, 50, 128, generator=rng) for name in ("cond", "negative", "perturbed", "isolated")}
    for scales in (LTX_2_3_DEV.video, LTX_2_3_DEV.audio, LTX_2_3_HQ.video, LTX_2_3_HQ.audio, ModalityGuidance()):
        guider = float32_guider(vendor, Guidance(), scales, None)
        absent = {"negative": not guider.do_unconditional_generation()}
        absent["perturbed"] = not guider.do_perturbed_generation()
        absent["isolated"] = not guider.do_isolated_modality_generation()
        ran = {name: value for name, value in x0.items() if not absent.get(name)}
        theirs = guider.calculate(*(0.0 if absent.get(name) else value for name, value in x0.items()))
        parity.check(f"guidance {scales}", VENDOR, combine(scales, ran), theirs, 0)
        in_bfloat16 = {name: value.bfloat16() for name, value in ran.items()}
        theirs = guider.calculate(*(0.0 if absent.get(name) else value.bfloat16() for name, value in x0.items()))
        parity.check("guidance, bfloat16, v1.2's casts", VENDOR, combine(scales, in_bfloat16), theirs, 0)


def test_skip_step(vendor):
    for k in range(4):
        guider = float32_guider(vendor, Guidance(skip_step=k), ModalityGuidance(), None)
        for step in range(20):
            assert Guidance(skip_step=k).skips(step) == guider.should_skip_step(step)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_euler_step(parity, vendor, rng, dtype):
    sigmas = ltx2_sigmas(30)
    stepper = vendor.diffusion_steps.EulerDiffusionStep()
    x, x0 = (torch.randn(1, 200, 128, generator=rng).to(dtype) for _ in range(2))
    for i in (0, 7, 28, 29):
        ours = euler_step(x, x0, sigmas[i], sigmas[i + 1])
        name = f"Euler step {i}, {dtype}".replace("torch.", "")
        parity.check(name, VENDOR, ours, stepper.step(x, x0, sigmas, i), 0)


def run_vendor(vendor, model, loop, stage, states, sigmas, guidance, contexts):
    function = stage.denoise_function(guidance, contexts)
    if loop == "euler":
        stepper = vendor.diffusion_steps.EulerDiffusionStep()
        return vendor.samplers.euler_denoising_loop(torch.as_tensor(sigmas), *states, stepper, function)
    stepper = vendor.diffusion_steps.Res2sDiffusionStep()
    return vendor.samplers.res2s_audio_video_denoising_loop(
        torch.as_tensor(sigmas), *states, stepper, function, model_dtype=stage.dtype
    )


SAMPLERS = {"euler": sample_euler, "res_2s": sample_res_2s}
GUIDED = replace(LTX_2_3_DEV, stg_blocks=(PERTURBED,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", ["no image", "one image", "strengths between 0 and 1"])
@pytest.mark.parametrize("loop, guidance", [("euler", GUIDED), ("res_2s", LTX_2_3_HQ), ("res_2s", GUIDED)])
def test_sampling_loops(parity, vendor, vendor_model, rng, contexts, loop, guidance, masked, dtype, monkeypatch):
    """Both loops over the same noised states, from the vendor's noiser, with every guidance pass.

    Token timesteps as in v1.2, which multiplies the mask by res_2s' float64 half sigma before rounding.  res_2s works
    in float64, where the order of a sum can turn a rounding to bfloat16 the other way now and then.
    """
    monkeypatch.setattr(vendor.helpers, "timesteps_from_mask", lambda mask, sigma: mask * sigma.view(1, 1, 1))
    strengths = {"no image": (), "one image": (1.0,), "strengths between 0 and 1": (0.4, 0.7)}[masked]
    items, _ = image_items(vendor, rng, dtype, strengths, (0, 8)[: len(strengths)])
    stage = VendorStage(vendor, vendor_model, dtype)
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
    expected = stage.finish(run_vendor(vendor, vendor_model, loop, stage, states, sigmas, guidance, contexts))
    got = SAMPLERS[loop](ToyModel(), state, sigmas, guidance, contexts).latents()
    exact = loop == "euler"
    tolerance = 0 if exact else (1e-6 if dtype == torch.float32 else 2**-7)
    for name, a, b in zip(("video", "audio"), got, expected, strict=True):
        what = f"{loop}, {len(guidance.blocks(LAYERS)) + 3} passes, {masked}, {name}, {dtype}".replace("torch.", "")
        parity.check(what, PIPELINES, a, b, tolerance)


def test_skipped_steps_in_the_loop(parity, vendor, vendor_model, rng, contexts):
    guidance = replace(GUIDED, skip_step=2)
    stage = VendorStage(vendor, vendor_model, torch.float32)
    states = stage.noise(GEOMETRY, torch.Generator().manual_seed(1))
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(1), dtype=torch.float32)
    for loop in SAMPLERS:
        args = (ltx2_sigmas(7), guidance, contexts)
        expected = stage.finish(run_vendor(vendor, vendor_model, loop, stage, states, *args))
        got = SAMPLERS[loop](ToyModel(), state, *args).latents()
        for name, a, b in zip(("video", "audio"), got, expected, strict=True):
            parity.check(f"{loop}, skip step 2, {name}", PIPELINES, a, b, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["text-to-video", "image-to-video"])
def test_both_stages_from_one_generator(parity, vendor, vendor_model, rng, contexts, kind, dtype):
    """Noise, 4 guided steps, enlargement, renoise, 3 refining steps; an image at strength 1, where versions agree."""
    small = GEOMETRY.half()
    stage = VendorStage(vendor, vendor_model, dtype)
    theirs, ours = torch.Generator().manual_seed(10), torch.Generator().manual_seed(10)
    conditionings, images = {}, {}
    for geometry in (small, GEOMETRY):
        latent = torch.randn(1, 128, 1, geometry.latent_height, geometry.latent_width, generator=rng).to(dtype)
        item = vendor.conditioning.VideoConditionByLatentIndex(latent=latent, strength=1.0, latent_idx=0)
        conditionings[geometry] = [item] if kind == "image-to-video" else []
        images[geometry] = [ImageLatent(latent)] if kind == "image-to-video" else []

    def enlarge(video):
        return video.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def reference_positions(states):
        # v1.0 rounds positions to bfloat16; v1.2 and we do not.
        return (
            states if dtype == torch.float32 else [replace(s, positions=p) for s, p in zip(states, exact, strict=True)]
        )

    exact = [small.video_positions(), small.audio_positions()]
    states = reference_positions(stage.noise(small, theirs, conditionings[small]))
    states = run_vendor(vendor, vendor_model, "euler", stage, states, ltx2_sigmas(4), GUIDED, contexts)
    first = stage.finish(states)
    exact = [GEOMETRY.video_positions(), GEOMETRY.audio_positions()]
    scale = torch.tensor(STAGE_TWO)[0].item()
    states = stage.noise(GEOMETRY, theirs, conditionings[GEOMETRY], scale, enlarge(first[0]), first[1])
    states = reference_positions(states)
    expected = stage.finish(run_vendor(vendor, vendor_model, "euler", stage, states, STAGE_TWO, OFF, contexts))

    state = start_stage(small, ours, images=images[small], dtype=dtype)
    video, audio = sample_euler(ToyModel(), state, ltx2_sigmas(4), GUIDED, contexts).latents()
    what = f"{kind}, {dtype}".replace("torch.", "")
    for name, a, b in zip(("video", "audio"), (video, audio), first, strict=True):
        parity.check(f"stage one, {what}, {name}", PIPELINES, a, b, 0)
    options = {"images": images[GEOMETRY], "noise_scale": scale, "dtype": dtype}
    state = start_stage(GEOMETRY, ours, video_latent=enlarge(video), audio_latent=audio, **options)
    got = sample_euler(ToyModel(), state, torch.tensor(STAGE_TWO), OFF, contexts).latents()
    for name, a, b in zip(("video", "audio"), got, expected, strict=True):
        parity.check(f"both stages, {what}, {name}", PIPELINES, a, b, 1e-6 if dtype == torch.float32 else 2**-5)


def test_audio_tokens(parity, vendor, rng):
    audio = torch.randn(1, *GEOMETRY.audio_shape, generator=rng)
    shape = vendor.types.AudioLatentShape(1, *GEOMETRY.audio_shape)
    tools = vendor.tools.AudioLatentTools(vendor.patchifiers.AudioPatchifier(1), shape)
    theirs = tools.create_initial_state(torch.device("cpu"), torch.float32, audio).latent
    parity.check("audio tokens", VENDOR, audio_state(GEOMETRY, initial=audio, dtype=torch.float32).latent, theirs, 0)
