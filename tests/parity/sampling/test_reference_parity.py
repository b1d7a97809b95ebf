"""Reference films against the vendor's IC-LoRA pipeline and diffusers': attention weights, masks, positions, sizes."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from ltx_duo.ltx_core.sampling.conditions import GivenReference, Keyframe, Reference, encode_reference
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.state import video_state

VENDOR, PIPELINES, DIFFUSERS = "ltx-core 1.0.0", "ltx-pipelines 1.0.0", "diffusers 0.42.1"
GEOMETRY = LatentGeometry(128, 64, 17, 24.0)
CELLS = 3, 1, 2  # of a reference of half the size
TOKENS = 6


class Shrinking:
    """Stands for the encoder: the mean of each cell's pixels, in all channels."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        first = F.avg_pool3d(pixels[:, :, :1], (1, 32, 32))
        rest = F.avg_pool3d(pixels[:, :, 1:], (8, 32, 32)) if pixels.shape[2] > 1 else first[:, :, :0]
        return torch.cat((first, rest), dim=2).repeat(1, 43, 1, 1, 1)[:, :128]


@pytest.fixture
def tools(vendor):
    shape = vendor.types.VideoLatentShape(1, *GEOMETRY.video_shape)
    return vendor.tools.VideoLatentTools(vendor.patchifiers.VideoLatentPatchifier(1), shape, GEOMETRY.fps)


def theirs_of(vendor, reference: Reference):
    """The vendor's item, wrapped where its pipeline wraps it."""
    item = vendor.conditioning.VideoConditionByReferenceLatent(
        reference.latent, downscale_factor=reference.downscale_factor, strength=reference.strength
    )
    weight = reference.attention_strength
    if reference.attention_mask is not None:
        weight = reference.attention_mask.flatten(1) * weight
    elif weight == 1:
        return item
    return vendor.conditioning.ConditioningItemAttentionStrengthWrapper(item, attention_mask=weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "weights",
    [
        [(1.0, False)], [(1.0, False), (1.0, False)], [(0.4, False)], [(0.0, False)], [(0.7, True)],
        [(1.0, False), (0.6, True)], [(0.6, False), (1.0, False)], [(0.5, True), (0.25, True), (0.9, False)],
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("image", [False, True], ids=["", "image"])
def test_attention_weights(parity, vendor, rng, tools, weights, image, dtype):
    """Of everything that is appended, images too; none where all weights are 1."""
    ours, theirs = video_state(GEOMETRY, dtype=dtype), tools.create_initial_state(torch.device("cpu"), dtype)
    if image:
        latent = torch.randn(1, 128, 1, 2, 4, generator=rng).to(dtype)
        ours = Keyframe(latent, 8).apply(ours, GEOMETRY)
        theirs = vendor.conditioning.VideoConditionByKeyframeIndex(latent, frame_idx=8, strength=1.0).apply_to(
            theirs, tools
        )
    for strength, masked in weights:
        mask = torch.rand(1, *CELLS, generator=rng).to(dtype) if masked else None
        if masked:
            mask[0, 0] = torch.tensor([[0.0, 1.0]])
        latent = torch.randn(1, 128, *CELLS, generator=rng).to(dtype)
        reference = Reference(latent, 2, attention_strength=strength, attention_mask=mask)
        ours = reference.apply(ours, GEOMETRY)
        theirs = theirs_of(vendor, reference).apply_to(theirs, tools)
    assert (
        (ours.attention is None) == (theirs.attention_mask is None) == all(weight == (1.0, False) for weight in weights)
    )
    if ours.attention is None:
        return
    prepare = vendor.transformer.transformer_args.TransformerArgsPreprocessor._prepare_self_attention_mask
    expected = prepare(None, theirs.attention_mask, dtype).float()
    bias = ours.attention.bias(dtype)
    assert bias.dtype == dtype and bias.shape == expected.shape and bias.stride(2) % 8 == 0
    hidden = torch.finfo(dtype).min
    assert torch.equal(bias == hidden, expected == hidden)
    bias, expected = (x.masked_fill(x == hidden, 0) for x in (bias.float(), expected))
    # In bfloat16 the vendor rounds the weights before they are multiplied.
    bar = 1e-6 if dtype == torch.float32 else 2**-6
    parity.check(f"attention bias, {len(weights)} references, {dtype}", VENDOR, bias, expected, bar)


def test_attention_weights_of_diffusers(parity, rng):
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2InContextPipeline

    weights = [torch.rand(1, TOKENS, generator=rng) for _ in range(2)]
    state = Keyframe(torch.zeros(1, 128, 1, 2, 4), 8).apply(video_state(GEOMETRY, dtype=torch.float32), GEOMETRY)
    own, prefix = GEOMETRY.video_tokens, state.latent.shape[1]
    for weight in weights:
        reference = Reference(torch.zeros(1, 128, *CELLS), 2, attention_mask=weight.unflatten(1, CELLS))
        state = reference.apply(state, GEOMETRY)
    expected = LTX2InContextPipeline._build_video_self_attention_mask(own, prefix, weights, torch.device("cpu"))
    parity.check("attention weights", DIFFUSERS, state.attention.bias(torch.float32)[0].exp(), expected, 1e-6)


@pytest.mark.parametrize("frames", [1, 9, 17])
def test_attention_mask_by_cells(parity, vendor, rng, frames):
    pipeline = importlib.import_module("ltx_pipelines.ic_lora").ICLoraPipeline
    mask = torch.rand(frames, 64, 128, generator=rng)
    given = GivenReference(torch.rand(frames, 50, 90, 3, generator=rng), mask=mask, attention_strength=0.8)
    made = encode_reference(Shrinking(), given, GEOMETRY, downscale_factor=2, dtype=torch.float32)
    shape = vendor.types.VideoLatentShape.from_torch_shape(made.latent.shape)
    expected = pipeline._downsample_mask_to_latent(mask[None, None], shape)
    parity.check(f"attention mask, {frames} frames", PIPELINES, made.attention_mask.flatten(1), expected, 1e-6)
    assert made.attention_strength == 0.8


@pytest.mark.parametrize("factor", [1, 2])
def test_pixels_and_positions_of_diffusers(parity, rng, factor):
    """Its positions, and which frames of a longer reference it reads; it resizes in its own way."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2InContextPipeline
    from diffusers.video_processor import VideoProcessor

    size = GEOMETRY.height // factor, GEOMETRY.width // factor
    frames = torch.rand(25, *size, 3, generator=rng)
    pipe = SimpleNamespace(
        video_processor=VideoProcessor(vae_scale_factor=32),
        vae=SimpleNamespace(
            dtype=torch.float32, latents_mean=torch.zeros(128), latents_std=torch.ones(128),
            encode=lambda pixels: SimpleNamespace(latents=Shrinking()(pixels)),
        ),
        transformer=SimpleNamespace(rope=LTX2AudioVideoRotaryPosEmbed(dim=128)),
        transformer_spatial_patch_size=1,
        transformer_temporal_patch_size=1,
        _normalize_latents=lambda latents, mean, std: latents,
        _pack_latents=LTX2InContextPipeline._pack_latents,
    )  # fmt: skip
    condition = SimpleNamespace(frames=frames.permute(0, 3, 1, 2), strength=0.7)
    tokens, positions, mask, _ = LTX2InContextPipeline._encode_reference_conditions(
        pipe, [condition], GEOMETRY.height, GEOMETRY.width, GEOMETRY.frames, factor, GEOMETRY.fps,
        dtype=torch.float32, device=torch.device("cpu"),
    )  # fmt: skip
    given = GivenReference(frames, strength=0.7)
    made = encode_reference(Shrinking(), given, GEOMETRY, downscale_factor=factor, dtype=torch.float32)
    state = made.apply(video_state(GEOMETRY, dtype=torch.float32), GEOMETRY)
    own = GEOMETRY.video_tokens
    what = f"reference film, 1/{factor} of the size"
    parity.check(f"{what}: clean tokens", DIFFUSERS, state.clean[:, own:], tokens, 1e-5)
    parity.check(f"{what}: positions", DIFFUSERS, state.positions[:, :, own:], positions, 1e-6)
    assert mask is None and state.attention is None
