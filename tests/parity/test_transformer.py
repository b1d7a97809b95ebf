"""The transformer against the vendor's: every guidance pass, image tokens, keyframes, one modality alone."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.sampling.attention_weights import AttentionWeights
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams

VENDOR = "ltx-core 1.0.0"
LAYERS, PERTURBED = 3, 1
FRAMES, HEIGHT, WIDTH, AUDIO = 3, 2, 4, 7

CONFIG_23 = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
SMALL = {
    "num_layers": LAYERS,
    "num_attention_heads": 4,
    "attention_head_dim": 28,  # as in the real model, two angles more than three axes take
    "cross_attention_dim": 112,
    "audio_num_attention_heads": 4,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 64,
    "av_ca_timestep_scale_multiplier": 400.0,  # not that of the other timesteps, as which it happens to be published
}
VERSION_20 = {
    "apply_gated_attention": False,
    "cross_attention_adaln": False,
    "caption_proj_before_connector": False,
    "caption_channels": 48,
}


def small_config(version: str) -> dict:
    section = {**CONFIG_23["transformer"], **SMALL, **(VERSION_20 if version == "2.0" else {})}
    return {**CONFIG_23, "transformer": section}


@pytest.fixture(params=["2.3", "2.3 cross timestep of vendor 1.0", "2.0"])
def models(request, rng, randomise, copy_weights):
    """The vendor's model and ours with equal random weights."""
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator

    config = small_config(request.param[:3])
    theirs = LTXModelConfigurator.from_config(config).eval()
    for name in ("caption_projection", "audio_caption_projection"):  # the vendor leaves these without storage
        if hasattr(theirs, name):
            getattr(theirs, name).to_empty(device="cpu")
    randomise(theirs, rng)
    params = TransformerParams.from_config(config)
    if "1.0" in request.param:
        params = dataclasses.replace(params, cross_timestep="other")
    else:
        _newest_cross_timestep(theirs)
    ours = AVTransformer(params).eval()
    copy_weights(theirs, ours)
    return theirs, ours, params


def _newest_cross_timestep(model) -> None:
    """Makes the vendor's 1.0 model take audio-video timesteps as its successors do.

    Scales and shifts come from the modality's own timesteps, gates still from the other's sigma.
    """

    def patch(preprocessor):
        prepare, embed = preprocessor.prepare, preprocessor._prepare_cross_attention_timestep

        def prepare_own(modality, cross_modality=None):
            def embed_own(timestep, **arguments):
                own = {**arguments, "timestep": modality.timesteps}
                return embed(**own)[0], embed(timestep=timestep, **arguments)[1]

            preprocessor._prepare_cross_attention_timestep = embed_own
            return prepare(modality, cross_modality)

        preprocessor.prepare = prepare_own

    patch(model.video_args_preprocessor)
    patch(model.audio_args_preprocessor)


def bounds(rng, axes: int, tokens: int) -> torch.Tensor:
    scale = torch.tensor([3.0, 700.0, 900.0])[:axes, None]
    start = torch.rand(1, axes, tokens, generator=rng) * scale
    return torch.stack((start, start + scale / 10), dim=-1)


class Scene:
    """Random noisy tokens, positions and prompts, with a denoise mask of 0, 1 and between where there is an image."""

    def __init__(self, rng, params: TransformerParams, *, image: bool, keyframe: bool):
        tokens = FRAMES * HEIGHT * WIDTH + (HEIGHT * WIDTH if keyframe else 0)
        mask = torch.ones(1, tokens)
        if image:
            mask[:, : HEIGHT * WIDTH] = torch.tensor([0.0, 0.35]).repeat(HEIGHT * WIDTH // 2)
        if keyframe:
            mask[:, -HEIGHT * WIDTH :] = 0.1
        self.video_sigma, self.audio_sigma = (torch.rand(1, generator=rng) * 0.8 + 0.1 for _ in range(2))
        self.video = torch.randn(1, tokens, 128, generator=rng)
        self.audio = torch.randn(1, AUDIO, 128, generator=rng)
        self.video_timesteps = mask * self.video_sigma[:, None]
        self.audio_timesteps = torch.ones(1, AUDIO) * self.audio_sigma[:, None]
        self.video_positions, self.audio_positions = bounds(rng, 3, tokens), bounds(rng, 1, AUDIO)
        video_dim = params.caption_channels or params.video.context_dim
        audio_dim = params.caption_channels or params.audio.context_dim
        self.contexts = [
            (torch.randn(1, 9, video_dim, generator=rng), torch.randn(1, 9, audio_dim, generator=rng)) for _ in range(2)
        ]

    def passes(self) -> list[GuidancePass]:
        positive, negative = self.contexts
        blocks = frozenset({PERTURBED})
        return [
            GuidancePass("cond", *positive),
            GuidancePass("negative", *negative),
            GuidancePass("perturbed", *positive, perturbed_video_blocks=blocks, perturbed_audio_blocks=blocks),
            GuidancePass("isolated", *positive, isolated=True),
        ]

    def inputs(self, model: AVTransformer) -> tuple[ModalityInput, ModalityInput]:
        video_rope, audio_rope = model.rope_tables(self.video_positions, self.audio_positions)
        return (
            ModalityInput(self.video, self.video_timesteps, self.video_sigma, video_rope),
            ModalityInput(self.audio, self.audio_timesteps, self.audio_sigma, audio_rope),
        )

    def vendor(
        self, model, guidance_pass: GuidancePass, *, video: bool = True, audio: bool = True, attention_mask=None
    ):
        from ltx_core.guidance import perturbations as p
        from ltx_core.model.transformer.modality import Modality

        kinds = []
        if guidance_pass.perturbed_video_blocks:
            kinds.append((p.PerturbationType.SKIP_VIDEO_SELF_ATTN, sorted(guidance_pass.perturbed_video_blocks)))
        if guidance_pass.perturbed_audio_blocks:
            kinds.append((p.PerturbationType.SKIP_AUDIO_SELF_ATTN, sorted(guidance_pass.perturbed_audio_blocks)))
        if guidance_pass.isolated:
            kinds += [(p.PerturbationType.SKIP_A2V_CROSS_ATTN, None), (p.PerturbationType.SKIP_V2A_CROSS_ATTN, None)]
        perturbation = p.PerturbationConfig([p.Perturbation(type=kind, blocks=blocks) for kind, blocks in kinds])
        video_modality = Modality(
            enabled=True, latent=self.video, sigma=self.video_sigma, timesteps=self.video_timesteps,
            positions=self.video_positions, context=guidance_pass.video_context, context_mask=None,
            attention_mask=attention_mask,
        )  # fmt: skip
        audio_modality = Modality(
            enabled=True, latent=self.audio, sigma=self.audio_sigma, timesteps=self.audio_timesteps,
            positions=self.audio_positions, context=guidance_pass.audio_context, context_mask=None,
        )  # fmt: skip
        return model(
            video=video_modality if video else None,
            audio=audio_modality if audio else None,
            perturbations=p.BatchedPerturbationConfig([perturbation]),
        )


def version_name(params: TransformerParams) -> str:
    return f"{'2.3' if params.text_adaln else '2.0'} ({params.cross_timestep} cross timestep)"


@pytest.mark.parametrize("keyframe", [False, True], ids=["plain", "keyframe"])
@pytest.mark.parametrize("image", [False, True], ids=["text", "image"])
def test_velocity_of_every_pass(models, rng, parity, image, keyframe):
    theirs, ours, params = models
    scene = Scene(rng, params, image=image, keyframe=keyframe)
    passes = scene.passes()
    together = ours(*scene.inputs(ours), passes)
    for guidance_pass, (video, audio) in zip(passes, together, strict=True):
        video_reference, audio_reference = scene.vendor(theirs, guidance_pass)
        scenery = f"{'image' if image else 'text'}{', keyframe' * keyframe}"
        what = f"transformer {version_name(params)} {guidance_pass.name}, {scenery}"
        parity.check(f"{what}: video velocity", VENDOR, video, video_reference, 1e-5)
        parity.check(f"{what}: audio velocity", VENDOR, audio, audio_reference, 1e-5)


@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_attention_weights(models, rng, parity, lowest):
    """Of two references behind the film: half of a frame each, with weights of their own and hidden from each other."""
    theirs, ours, params = models
    scene = Scene(rng, params, image=True, keyframe=True)
    own, part = FRAMES * HEIGHT * WIDTH, HEIGHT * WIDTH // 2
    state = AttentionWeights.full(own, own)
    for _ in range(2):
        state = state.grown(part, (torch.rand(part, generator=rng) * (1 - lowest) + lowest).floor_divide(0.1) * 0.1)
    bias, passes = state.bias(torch.float32), scene.passes()
    video, audio = scene.inputs(ours)
    together = ours(dataclasses.replace(video, bias=bias), audio, passes)
    for guidance_pass, made, plain in zip(passes, together, ours(video, audio, passes), strict=True):
        references = scene.vendor(theirs, guidance_pass, attention_mask=bias[0].exp())
        what = f"transformer {version_name(params)} {guidance_pass.name}, attention weights"
        for modality, (velocity, reference) in zip(("video", "audio"), zip(made, references, strict=True), strict=True):
            parity.check(f"{what}: {modality} velocity", VENDOR, velocity, reference, 1e-5)
        assert (made[0] - plain[0]).abs().max() > 1e-3 * made[0].abs().max()


def test_passes_differ(models, rng):
    """The parity rows mean something only if the four passes give four different answers."""
    _, ours, params = models
    scene = Scene(rng, params, image=True, keyframe=False)
    results = ours(*scene.inputs(ours), scene.passes())
    for first in range(4):
        for second in range(first):
            for modality in (0, 1):
                difference = (results[first][modality] - results[second][modality]).abs().max()
                assert difference > 1e-3 * results[first][modality].abs().max(), (first, second, modality)


def test_passes_together_equal_passes_apart(models, rng, parity):
    _, ours, params = models
    scene = Scene(rng, params, image=True, keyframe=True)
    inputs = scene.inputs(ours)
    passes = scene.passes()
    for order in (passes, passes[::-1], passes[2:], passes[1:3], passes[::2]):
        for guidance_pass, (video, audio) in zip(order, ours(*inputs, order), strict=True):
            [(video_alone, audio_alone)] = ours(*inputs, [guidance_pass])
            parity.check(f"{guidance_pass.name} in a batch of {len(order)}", "alone", video, video_alone, 1e-5)
            parity.check(f"{guidance_pass.name} audio in a batch of {len(order)}", "alone", audio, audio_alone, 1e-5)


def test_one_modality_alone(models, rng, parity):
    theirs, ours, params = models
    scene = Scene(rng, params, image=True, keyframe=True)
    video_input, audio_input = scene.inputs(ours)
    passes = scene.passes()
    videos, audios = ours(video_input, None, passes), ours(None, audio_input, passes)
    for guidance_pass, (video, no_audio), (no_video, audio) in zip(passes, videos, audios, strict=True):
        assert no_audio is None and no_video is None
        what = f"transformer {version_name(params)} {guidance_pass.name}, image, keyframe"
        reference = scene.vendor(theirs, guidance_pass, audio=False)[0]
        parity.check(f"{what}, alone: video velocity", VENDOR, video, reference, 1e-5)
        reference = scene.vendor(theirs, guidance_pass, video=False)[1]
        parity.check(f"{what}, alone: audio velocity", VENDOR, audio, reference, 1e-5)


def test_official_tensor_list(official_tensors):
    model = AVTransformer(TransformerParams.from_config(CONFIG_23), device="meta")
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == official_tensors("transformer")
    assert sum(parameter.numel() for parameter in model.parameters()) == 18_988_838_144
