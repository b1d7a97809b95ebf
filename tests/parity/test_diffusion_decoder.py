"""LTX-2.5's diffusion video decoder against diffusers': whole, in tiles, from published names, and its attention."""

import math

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.diffusion_keys import with_gates_folded
from ltx_duo.ltx_core.errors import CheckpointError, GeometryError, VariantError
from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.video_vae import neighborhood
from ltx_duo.ltx_core.video_vae.diffusion_decoder import DiffusionVideoDecoder
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams, NeighborhoodStage, Upsampling
from ltx_duo.ltx_core.video_vae.diffusion_tiling import DIFFUSION_TILING, decode_by_diffusion, diffusion_tiles
from ltx_duo.ltx_core.video_vae.layers import patchify
from ltx_duo.ltx_core.video_vae.tiling import Tiling

DIFFUSERS = "diffusers 0.42.1"
TOLERANCE = 1e-5
# The published decoder; a small one; and strides that make fewer tokens of as many pixels.
CONFIG = {
    "vae": {
        "_class_name": "CausalDiffusionVAE",
        "model_output_type": "x0",
        "latent_channels": 128,
        "decoder": {
            "in_channels": 128,
            "out_channels": 3,
            "patch_size": 4,
            "head_dim": 64,
            "t_emb_dim": 384,
            "default_num_inference_steps": 1,
            "timestep_scale_multiplier": 1000.0,
            "stage_channels": [2048, 1024, 512, 512, 256],
            "stage_depths": [4, 6, 4, 2, 8],
            "stage_kernels": [[3, 7, 7], [3, 7, 7], [3, 5, 5], [3, 5, 5]],
            "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 2]],
            "stage5_kernel": [11, 11, 11],
        },
    }
}
SMALL = {
    "in_channels": 8,
    "head_dim": 16,
    "t_emb_dim": 12,
    "stage_channels": [128, 64, 32, 32, 16],
    "stage_depths": [1, 2, 1, 2, 2],
    "stage_kernels": [[3, 3, 3], [3, 3, 3], [3, 5, 3], [3, 5, 5]],
    "stage5_kernel": [5, 5, 7],
}


def config(**changes) -> dict:
    return {"vae": CONFIG["vae"] | {"decoder": CONFIG["vae"]["decoder"] | changes}}


COARSE = {"patch_size": 8, "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 1, 1], 1], [[2, 2, 2], 2]]}
PARAMS = DiffusionDecoderParams.from_config(config(**SMALL | COARSE))


def diffusers_decoder(params: DiffusionDecoderParams):
    from diffusers.models.autoencoders.ltx2_diffusion_decoder import LTX2VideoDiffusionDecoderModel

    stages = (*params.stages, params.final)
    return LTX2VideoDiffusionDecoderModel(
        latent_channels=params.latent_channels,
        patch_size=params.patch_size,
        decoder_head_dim=params.head_dim,
        decoder_stage_channels=tuple(stage.channels for stage in stages),
        decoder_stage_depths=tuple(stage.layers for stage in stages),
        decoder_stage_kernels=tuple(stage.kernel for stage in params.stages),
        decoder_upsample_strides=tuple(upsampling.stride for upsampling in params.upsamplings),
        decoder_upsample_channel_reductions=tuple(upsampling.reduction for upsampling in params.upsamplings),
        decoder_stage5_kernel=params.final.kernel,
        decoder_t_emb_dim=params.time_width,
        decoder_timestep_scale_multiplier=params.timestep_scale,
    ).eval()


def diffusers_state(state: dict) -> dict:
    """Diffusers has queries, keys and values apart, and the statistics beside the decoder."""
    found = {}
    for name, tensor in state.items():
        if name.startswith("per_channel_statistics."):
            found["latents_mean" if "mean-of-means" in name else "latents_std"] = tensor
            continue
        name = "decoder." + name.replace("attn.proj.", "attn.to_out.0.")
        name = name.replace("q_norm", "norm_q").replace("k_norm", "norm_k")
        name = name.replace("t_embedder.", "t_embedder.timestep_embedder.")
        if ".qkv." in name:
            for own, part in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace(".qkv.", f".to_{own}.")] = part
        else:
            found[name] = tensor
    return found


def random_decoder(rng, randomise, params=PARAMS) -> DiffusionVideoDecoder:
    ours = randomise(DiffusionVideoDecoder(params), rng).eval()
    ours.conv_out.weight.mul_(0.25)  # pixels mostly from -1 to 1: what frames cut off is not compared
    ours.per_channel_statistics.get_buffer("mean-of-means").copy_(torch.randn(params.latent_channels, generator=rng))
    ours.per_channel_statistics.get_buffer("std-of-means").copy_(
        torch.rand(params.latent_channels, generator=rng) + 0.5
    )
    return ours


def pair(rng, randomise, params):
    ours, theirs = random_decoder(rng, randomise, params), diffusers_decoder(params)
    theirs.load_state_dict(diffusers_state(ours.state_dict()), strict=True)
    return ours, theirs


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def their_pixels(theirs, latent, tiled: bool = False):
    mean, std = (statistic.view(1, -1, 1, 1, 1) for statistic in (theirs.latents_mean, theirs.latents_std))
    decode = theirs.tiled_decode if tiled else theirs.decoder
    return decode(latent * std + mean, generator=seeded())


@pytest.mark.parametrize(
    ("changes", "batch", "size"),
    [
        ({"stage_kernels": [[3, 2, 2], [3, 3, 3], [3, 3, 4], [3, 5, 5]]}, 1, (2, 2, 2)),
        (COARSE, 2, (3, 3, 4)),
        (COARSE, 1, (4, 2, 1)),
        (COARSE, 1, (1, 1, 3)),
        (COARSE | {"stage_kernels": [[1, 2, 2], [3, 3, 3], [3, 3, 3], [3, 3, 3]]}, 1, (3, 2, 3)),
    ],
    ids=["published strides", "a batch", "too few columns", "one frame, one row", "without ghost frames"],
)
def test_pixels(changes, batch, size, rng, randomise, parity):
    """Latents that are too small for a kernel are enlarged by their margins, as the vendor does; diffusers refuses."""
    params = DiffusionDecoderParams.from_config(config(**SMALL | changes))
    ours, theirs = pair(rng, randomise, params)
    latent = torch.randn(batch, 8, *size, generator=rng)
    frames, height, width = (max(0, least - own) for own, least in zip(size, params.smallest_latent, strict=True))
    edges = (width // 2, width - width // 2, height // 2, height - height // 2, 0, frames)
    expected = their_pixels(theirs, torch.nn.functional.pad(latent, edges, mode="replicate"))
    top, left = height // 2 * 32, width // 2 * 32
    expected = expected[:, :, : 8 * size[0] - 7, top : top + size[1] * 32, left : left + size[2] * 32]
    parity.check("diffusion decoder, pixels", DIFFUSERS, ours(latent, seeded()), expected, TOLERANCE)


def test_noise_matters_and_is_the_generators(rng, randomise):
    ours = random_decoder(rng, randomise)
    latent = torch.randn(1, 8, 2, 3, 3, generator=rng)
    assert torch.equal(ours(latent, seeded()), ours(latent, seeded()))
    assert not torch.allclose(ours(latent, seeded()), ours(latent, torch.Generator().manual_seed(6)), atol=1e-3)


def test_a_seed_means_one_noise_in_every_dtype(rng, randomise):
    """On a CPU bfloat16's draws are float32's anyway, float64's are others."""
    ours, drawn = random_decoder(rng, randomise), []
    ours.conv_in_x_t.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0]))
    latent = torch.randn(1, 8, 2, 3, 3, generator=rng)
    dtypes = (torch.float32, torch.bfloat16, torch.float64)
    for dtype in dtypes:
        ours.to(dtype)(latent.to(dtype), seeded())
    assert [noise.dtype for noise in drawn] == list(dtypes)
    assert all(torch.equal(noise, drawn[0].to(noise.dtype)) for noise in drawn)


def test_bfloat16(rng, randomise, parity, monkeypatch):
    """Diffusers draws noise in the latent's dtype, which makes another one: here it takes float32's."""
    from diffusers.models.autoencoders import ltx2_diffusion_decoder as module

    def drawn(shape, generator, device, dtype):
        return torch.randn(shape, generator=generator).to(device, dtype)

    monkeypatch.setattr(module, "randn_tensor", drawn)
    ours, theirs = pair(rng, randomise, PARAMS)
    latent = torch.randn(1, 8, 5, 4, 4, generator=rng)
    exact = ours(latent, seeded())
    halved = (ours.bfloat16()(latent.bfloat16(), seeded()), their_pixels(theirs.bfloat16(), latent.bfloat16()))
    own, other = ((found.float() - exact).norm() / exact.norm() for found in halved)
    assert 0 < own < 0.05
    parity.add("diffusion decoder in bfloat16, pixels, error / diffusers' error", DIFFUSERS, float(own / other), 1.5)


# What is cut, and the tiles of diffusers that this makes: in cells of 2 frames and 8 x 8 pixels.
TILES = {
    "frames": (Tiling(768, 64, 16, 8), (5, 2, 2)),
    "height": (Tiling(64, 32, 80, 24), (3, 4, 2)),
    "width": (Tiling(64, 32, 80, 24), (3, 2, 4)),
}


@pytest.mark.parametrize("cut", TILES)
def test_tiles(cut, rng, randomise, parity):
    """Along one side of the picture: in the corners between tiles diffusers fades what has been faded already."""
    tiling, size = TILES[cut]
    params = DiffusionDecoderParams.from_config(
        config(**SMALL | {"stage_kernels": [[3, 2, 2], [3, 3, 3], [3, 3, 3], [3, 5, 5]], "stage5_kernel": [5, 3, 5]})
    )
    ours, theirs = pair(rng, randomise, params)
    latent = torch.randn(1, 8, *size, generator=rng)
    cells = (4 * (size[0] - 1) + 1, 4 * size[1], 4 * size[2])
    plan = diffusion_tiles(params, cells, tiling)
    overlaps = (tiling.temporal_overlap, tiling.spatial_overlap, tiling.spatial_overlap)
    for axis, tiles, overlap, cell in zip(("num_frames", "height", "width"), plan, overlaps, (2, 8, 8), strict=True):
        extent = (tiles[0].latent.stop - tiles[0].latent.start) * cell
        setattr(theirs, f"tile_sample_min_{axis}", extent)
        setattr(theirs, f"tile_sample_stride_{axis}", extent - overlap if len(tiles) > 1 else extent)
    assert math.prod(map(len, plan)) > 1
    expected = their_pixels(theirs, latent, tiled=True)
    frames = decode_by_diffusion(ours, latent, seeded(), tiling)
    expected = ((expected[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    parity.check(f"diffusion decoder, tiles along {cut}", DIFFUSERS, frames, expected, TOLERANCE)


@pytest.mark.parametrize("size", [(5, 4, 4), (1, 1, 3)], ids=str)
def test_one_tile_is_the_whole(size, rng, randomise):
    ours = random_decoder(rng, randomise)
    latent = torch.randn(1, 8, *size, generator=rng)
    expected = ((ours(latent, seeded())[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    for tiling in (None, DIFFUSION_TILING):
        assert torch.allclose(decode_by_diffusion(ours, latent, seeded(), tiling), expected, atol=1e-6)


@pytest.mark.parametrize("tiling", [DIFFUSION_TILING, Tiling(64, 32, 16, 8), Tiling(128, 0, 40, 0)], ids=str)
@pytest.mark.parametrize("latent", [(1, 7, 7), (16, 32, 48), (33, 17, 30), (9, 40, 8)], ids=str)
def test_weights_of_tiles_sum_to_one(tiling, latent):
    params = DiffusionDecoderParams.from_config(CONFIG)
    cells = (4 * (latent[0] - 1) + 1, 4 * latent[1], 4 * latent[2])
    pixels = (8 * (latent[0] - 1) + 1, 32 * latent[1], 32 * latent[2])
    for tiles, length, own, least in zip(
        diffusion_tiles(params, cells, tiling), pixels, cells, params.smallest_tile, strict=True
    ):
        total = torch.zeros(length)
        for tile in tiles:
            total[tile.output] += tile.weight
            assert tile.latent.stop - tile.latent.start >= min(own, least)
        assert torch.allclose(total, torch.ones(length))
        assert tiles[-1].latent.stop == own


def test_published_names(rng, randomise, parity, tmp_path):
    """Gates, which diffusers multiplies into the weights when it converts, the time's names, and previews."""
    ours = random_decoder(rng, randomise)
    state = ours.state_dict()
    gates = {}
    for block in range(PARAMS.final.layers):
        for gate in ("gate_msa", "gate_mlp", "gate_ctx"):
            gates[f"diff_blocks.{block}.{gate}"] = torch.rand(PARAMS.final.channels, generator=rng) + 0.5
    file = {f"vae.decoder.{name}": tensor for name, tensor in (state | gates).items() if "statistics" not in name}
    file |= {f"vae.{name}": tensor for name, tensor in state.items() if "statistics" in name}
    for number, layer in (("0", "1"), ("2", "2")):
        for kind in ("weight", "bias"):
            file[f"vae.decoder.t_embedder.mlp.{number}.{kind}"] = file.pop(
                f"vae.decoder.t_embedder.linear_{layer}.{kind}"
            )
    file |= {
        "vae.decoder.coarse_out.weight": torch.zeros(1),
        "vae.encoder.conv_in.conv.weight": torch.zeros(1, 1, 1, 1, 1),
    }

    def read_back(file: dict) -> dict:
        save_file(file, tmp_path / "vae.safetensors")
        checkpoint = Checkpoint.open(tmp_path / "vae.safetensors")
        assert checkpoint.unrecognised == ()
        assert checkpoint.tensors(Component.DIFFUSION_DECODER).keys() == state.keys()
        return checkpoint.state_dict(Component.DIFFUSION_DECODER)

    read = read_back(file)
    assert read.keys() == state.keys()
    bare = read_back({name.removeprefix("vae."): tensor for name, tensor in file.items()})
    assert all(torch.equal(bare[name], tensor) for name, tensor in read.items())
    block = ours.diff_blocks[0]
    x = torch.randn(1, 5, 5, 7, 16, generator=rng)
    plain = (block.attn(x), block.mlp(x), block.context_proj(x))
    ours.load_state_dict(read, strict=True)
    gated = (block.attn(x), block.mlp(x), block.context_proj(x))
    for what, before, after in zip(("gate_msa", "gate_mlp", "gate_ctx"), plain, gated, strict=True):
        expected = before * gates[f"diff_blocks.0.{what}"]
        parity.check(f"diffusion decoder, {what}", "the gate itself", after, expected, TOLERANCE)
    with pytest.raises(CheckpointError, match="gate_msa has no diff_blocks.0.attn.proj.weight"):
        with_gates_folded({"diff_blocks.0.gate_msa": torch.ones(16)})


def test_at_full_size_it_has_diffusers_tensors():
    params = DiffusionDecoderParams.from_config(CONFIG)
    assert params == DiffusionDecoderParams(
        stages=(
            NeighborhoodStage(2048, 4, (3, 7, 7)), NeighborhoodStage(1024, 6, (3, 7, 7)),
            NeighborhoodStage(512, 4, (3, 5, 5)), NeighborhoodStage(512, 2, (3, 5, 5)),
        ),
        upsamplings=(
            Upsampling((1, 2, 2), 2), Upsampling((2, 1, 1), 2), Upsampling((2, 2, 2), 1), Upsampling((2, 2, 2), 2)
        ),
        final=NeighborhoodStage(256, 8, (11, 11, 11)),
    )  # fmt: skip
    assert params.smallest_latent == (3, 7, 7) and params.smallest_tile == (6, 6, 6)
    with torch.device("meta"):
        ours, theirs = DiffusionVideoDecoder(params), diffusers_decoder(params)
    state = {name: tuple(t.shape) for name, t in diffusers_state(ours.state_dict()).items()}
    assert state == {name: tuple(t.shape) for name, t in theirs.state_dict().items()}


def dense(q, k, v, kernel):
    """Each query with its own keys, one by one."""
    grid = q.shape[1:4]
    out = torch.empty_like(q)
    for place in torch.cartesian_prod(*map(torch.arange, grid)).tolist():
        window = []
        for at, size, length in zip(place, kernel, grid, strict=True):
            size = min(size, length)
            start = min(max(at - size // 2, 0), length - size)
            window.append(slice(start, start + size))
        keys, values = (x[(slice(None), *window)].flatten(1, 3).transpose(1, 2) for x in (k, v))
        query = q[(slice(None), *place)][:, :, None]
        weights = (query @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        out[(slice(None), *place)] = (weights @ values)[:, :, 0]
    return out


@pytest.mark.parametrize("pairs", [2**22, 3000, 1], ids=["one block", "blocks", "single queries"])
@pytest.mark.parametrize(
    ("grid", "kernel"), [((5, 6, 7), (3, 3, 5)), ((4, 9, 2), (7, 3, 3)), ((3, 8, 8), (2, 4, 5)), ((1, 1, 9), (1, 1, 9))]
)
def test_neighborhood_attention(grid, kernel, pairs, rng, parity, monkeypatch):
    monkeypatch.setattr(neighborhood, "MOST_PAIRS", pairs)
    monkeypatch.setattr(neighborhood, "_MOST_GATHERED", 4000)
    q, k, v = torch.randn(3, 2, *grid, 2, 8, generator=rng)
    result = neighborhood.neighborhood_attention(q, k, v, kernel, scaled_dot_product)
    parity.check("neighbourhood attention", "query by query", result, dense(q, k, v, kernel), TOLERANCE)


def test_patches_are_the_convolutional_decoders(rng):
    from diffusers.models.autoencoders.ltx2_diffusion_decoder import _patchify

    pixels = torch.randn(1, 3, 2, 8, 12, generator=rng)
    assert torch.equal(patchify(pixels, 4), _patchify(pixels, 4))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"_class_name": "CausalVideoAutoencoder"}, VariantError, "expected 'CausalDiffusionVAE'"),
        ({"model_output_type": "v"}, CheckpointError, "model_output_type = 'v', expected 'x0'"),
        ({"decoder": {}}, CheckpointError, "lacks vae.decoder.default_num_inference_steps, expected 1"),
    ],
)
def test_other_decoders_are_refused(changes, error, words):
    with pytest.raises(error, match=words):
        DiffusionDecoderParams.from_config({"vae": CONFIG["vae"] | changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stage_channels": [2048, 1024, 512, 256, 256]}, "widths that shrink as upsamples say"),
        ({"stage_channels": [2048, 1024]}, "5 entries, one more than upsamples"),
        ({"stage_kernels": [[3, 7]] * 4}, "three numbers for each stage"),
        ({"stage5_kernel": [11, 11]}, r"stage5_kernel = .11, 11., expected three numbers"),
        ({"upsamples": [[[1, 3, 2], 2]]}, "each stride three times 1 or 2"),
        ({"stage5_channels": 512}, "stage5_channels = 512, expected 256"),
        ({"head_dim": 24}, "multiples of head_dim = 24"),
        ({"patch_size": 2}, "make 8 frames and 32 x 32 pixels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(CheckpointError, match=words):
        DiffusionDecoderParams.from_config(config(**changes))


def test_latents_that_cannot_be_decoded(rng, randomise):
    ours = random_decoder(rng, randomise)
    with pytest.raises(GeometryError, match="expected .batch, 8, frames"):
        ours(torch.zeros(1, 4, 2, 3, 3))
    with pytest.raises(GeometryError, match="one video"):
        decode_by_diffusion(ours, torch.zeros(2, 8, 2, 3, 3))
