"""Sound alone against the vendor's audio-only model: the module, a guided prediction, whole loops.

The package has no text-to-audio pipeline, but all that the vendor's newer t2a_one_stage is made of.  Its loops want a
video beside the sound: they get one cell of zeros, which nothing reads.
"""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.geometry import SoundGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts
from ltx_duo.ltx_core.sampling.samplers import named_sampler
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import begin, sample_stage
from ltx_duo.ltx_core.sound_only import sound_stage
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.transformer.sound_only import without_video
from ltx_duo.tests.parity.test_transformer import LAYERS, PERTURBED, bounds, small_config

CORE, PIPELINES = "ltx-core 1.0.0, audio only", "ltx-pipelines 1.0.0, audio only"
FRAMES, FPS = 49, 24.0
GUIDED = dataclasses.replace(LTX_2_3_DEV, stg_blocks=(PERTURBED,))
FLOAT = {"dtype": torch.float32}


@pytest.fixture(params=["2.3", "2.0"])
def models(request, rng, randomise, copy_weights):
    """The vendor's audio-only model and ours, whose names are the same ones, with equal random weights."""
    from ltx_core.model.transformer import model_configurator
    from ltx_core.model.transformer.model import LTXModelType

    config = small_config(request.param)
    with pytest.MonkeyPatch.context() as patch:
        audio_only = SimpleNamespace(AudioVideo=LTXModelType.AudioOnly)
        patch.setattr(model_configurator, "LTXModelType", audio_only)
        theirs = model_configurator.LTXModelConfigurator.from_config(config).eval()
    if hasattr(theirs, "audio_caption_projection"):  # the vendor leaves it without storage
        theirs.audio_caption_projection.to_empty(device="cpu")
    randomise(theirs, rng)
    params = TransformerParams.from_config(config)
    ours = without_video(AVTransformer(params).eval())
    copy_weights(theirs, ours)
    return theirs, ours, params


@pytest.fixture
def contexts(models, rng):
    params = models[2]
    width = params.caption_channels or params.audio.context_dim
    return Contexts(None, torch.randn(1, 9, width, generator=rng), None, torch.randn(1, 9, width, generator=rng))


@pytest.fixture
def vendor_model(models, vendor):
    """The vendor's X0Model, which sees no picture, with a prediction of zeros for the one that its loops carry."""
    model = vendor.transformer.X0Model(models[0])

    def predict(video, audio, perturbations):
        return torch.zeros_like(video.latent), model(video=None, audio=audio, perturbations=perturbations)[1]

    return predict


def vendor_states(vendor, seed):
    """The vendor's states of the carried picture and of the noised sound, with the tools that take it apart."""
    shape = vendor.types.VideoPixelShape(1, FRAMES, 32, 32, FPS)
    components = SimpleNamespace(audio_patchifier=vendor.patchifiers.AudioPatchifier(patch_size=1))
    noiser = vendor.noisers.GaussianNoiser(generator=torch.Generator().manual_seed(seed))
    audio, tools = vendor.helpers.noise_audio_state(
        shape, noiser, [], components, dtype=torch.float32, device=torch.device("cpu")
    )
    carried = vendor.types.LatentState(
        latent=torch.zeros(1, 1, 128), denoise_mask=torch.ones(1, 1, 1), positions=torch.zeros(1, 3, 1, 2),
        clean_latent=torch.zeros(1, 1, 128),
    )  # fmt: skip
    return carried, audio, tools


def vendor_function(vendor, float32_guider, model, guidance, contexts):
    """Guided as t2a_one_stage: the picture not at all, the sound without the modality scale."""
    scales = dataclasses.replace(guidance.audio, modality=1.0)
    neutral = float32_guider(OFF.video)
    guider = float32_guider(scales, guidance.skip_step, guidance.blocks(LAYERS), contexts.negative_audio)
    return vendor.helpers.multi_modal_guider_denoising_func(neutral, guider, None, contexts.audio, model)


def our_stage(guidance=GUIDED, steps=6, **options):
    return sound_stage(SoundGeometry.of_seconds(FRAMES / FPS), ltx2_sigmas(steps), guidance, **options)


def test_velocity_of_every_pass(models, contexts, rng, parity):
    from ltx_core.guidance import perturbations as p
    from ltx_core.model.transformer.modality import Modality

    theirs, ours, params = models
    tokens, timesteps = torch.randn(1, 7, 128, generator=rng), torch.rand(1, 7, generator=rng)
    sigma, positions = timesteps.amax(1), bounds(rng, 1, 7)
    passes = [
        GuidancePass("cond", None, contexts.audio),
        GuidancePass("negative", None, contexts.negative_audio),
        GuidancePass("perturbed", None, contexts.audio, perturbed_audio_blocks=frozenset({PERTURBED})),
    ]
    given = ModalityInput(tokens, timesteps, sigma, ours.rope_tables(None, positions)[1])
    whole = AVTransformer(params).eval()
    for name, weight in whole.named_parameters():
        own = ours.state_dict().get(name)
        weight.data = torch.full_like(weight, torch.nan) if own is None else own
    velocities = ours(None, given, passes)
    for own, (video, audio), (_, of_whole) in zip(passes, velocities, whole(None, given, passes), strict=True):
        kinds = [p.Perturbation(type=p.PerturbationType.SKIP_AUDIO_SELF_ATTN, blocks=[PERTURBED])]
        skipped = p.PerturbationConfig(kinds if own.perturbed_audio_blocks else [])
        modality = Modality(
            enabled=True, latent=tokens, sigma=sigma, timesteps=timesteps, positions=positions,
            context=own.audio_context, context_mask=None,
        )  # fmt: skip
        reference = theirs(None, modality, p.BatchedPerturbationConfig([skipped]))[1]
        assert video is None
        parity.check(f"sound-only transformer, {own.name}: velocity", CORE, audio, reference, 1e-5)
        parity.check(f"sound-only transformer, {own.name}: velocity", "whole transformer", audio, of_whole, 0)


def test_the_noise_is_the_vendors(vendor, parity):
    _, audio, _ = vendor_states(vendor, seed=5)
    state = begin(our_stage(), torch.Generator().manual_seed(5), **FLOAT)
    assert state.video is None
    parity.check("sound only, noise", PIPELINES, state.audio.latent, audio.latent, 0)
    parity.check("sound only, positions", PIPELINES, state.audio.positions, audio.positions, 1e-6)


def test_a_guided_prediction(models, contexts, vendor, vendor_model, float32_guider, parity):
    carried, audio, _ = vendor_states(vendor, seed=6)
    state = begin(our_stage(), torch.Generator().manual_seed(6), **FLOAT)
    sigmas = ltx2_sigmas(6)
    function = vendor_function(vendor, float32_guider, vendor_model, GUIDED, contexts)
    denoise = guided_denoiser(models[1], state, GUIDED, contexts)
    assert [own.name for own in denoise.passes] == ["cond", "negative", "perturbed"]
    for step in (0, 3):
        [x0] = denoise(state, sigmas[step], step).x0
        parity.check("sound only, guided x0", PIPELINES, x0, function(carried, audio, sigmas, step)[1], 1e-5)


@pytest.mark.parametrize("sampler", ["euler", "gradient_estimation"])
@pytest.mark.parametrize("guidance", [GUIDED, dataclasses.replace(GUIDED, skip_step=1), OFF], ids=repr)
def test_whole_loops(models, contexts, vendor, vendor_model, float32_guider, parity, sampler, guidance):
    carried, audio, tools = vendor_states(vendor, seed=7)
    names = {"euler": "euler_denoising_loop", "gradient_estimation": "gradient_estimating_euler_denoising_loop"}
    function = vendor_function(vendor, float32_guider, vendor_model, guidance, contexts)
    stepper = vendor.diffusion_steps.EulerDiffusionStep()
    _, audio = getattr(vendor.samplers, names[sampler])(ltx2_sigmas(6), carried, audio, stepper, function)
    expected = tools.unpatchify(tools.clear_conditioning(audio)).latent
    stage = our_stage(guidance, sampler=named_sampler(sampler, seed=7))
    made = sample_stage(models[1], stage, contexts, torch.Generator().manual_seed(7), **FLOAT)
    assert made.video is None
    parity.check(f"sound only, {sampler}: audio latent", PIPELINES, made.audio, expected, 1e-5)


def test_a_model_for_sound_makes_no_picture(models, contexts):
    given = ModalityInput(torch.zeros(1, 1, 128), torch.ones(1, 1), torch.ones(1), None)
    with pytest.raises(LTXError, match="loaded for sound alone, but is to make a picture: load all of it"):
        models[1](given, given, [GuidancePass("cond", contexts.audio, contexts.audio)])
