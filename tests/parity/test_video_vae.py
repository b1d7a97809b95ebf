"""The video VAE against the vendor's package, diffusers and ComfyUI's own code, with random weights."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.video_vae import (
    DEFAULT_TILING,
    VENDOR_1_0_TILING,
    Tiling,
    VideoDecoder,
    VideoEncoder,
    VideoVAEParams,
    decode_tiled,
    decode_whole,
)
from ltx_duo.ltx_core.video_vae.tiling import spatial_tiles, temporal_tiles

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
COMFYUI = Path(__file__).parents[2] / ".local" / "comfyui-0.30.0"
TOLERANCE = 1e-5


def small_config(version: str = "2.3", *, latent: int = 16, encoder: int = 16, decoder: int = 8, **changes) -> dict:
    """The official layer lists with one block a stage and little width; 2.0's decoder reflects and adds its input."""
    config = copy.deepcopy(OFFICIAL)
    vae = config["vae"]
    if version == "2.0":
        vae["encoder_blocks"][7][1]["multiplier"] = 2
        step = ["compress_all", {"residual": True, "multiplier": 2}]
        res = ["res_x", {"num_layers": 1, "inject_noise": False}]
        vae["decoder_blocks"] = [res, step, res, step, res, step, res]
        del vae["spatial_padding_mode"]
    for _, options in vae["encoder_blocks"] + vae["decoder_blocks"]:
        if "num_layers" in options:
            options["num_layers"] = 2 if options["num_layers"] == 6 else 1
    vae |= {"latent_channels": latent, "encoder_base_channels": encoder, "decoder_base_channels": decoder, **changes}
    return config


def set_statistics(module, generator) -> None:
    mean, std = (module.per_channel_statistics.get_buffer(f"{name}-of-means") for name in ("mean", "std"))
    mean.copy_(torch.randn(mean.shape, generator=generator))
    std.copy_(0.5 + torch.rand(std.shape, generator=generator))


def pixels(generator, frames: int, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand((1, 3, frames, height, width), generator=generator) * 2 - 1


def vendor_pair(kind: str, config: dict, rng, randomise, copy_weights):
    """(ours, the vendor's) with equal random weights; the strict copy also compares every name and shape."""
    from ltx_core.model.video_vae import model_configurator

    configurator = getattr(model_configurator, f"Video{kind}Configurator")
    theirs = randomise(configurator.from_config(config), rng)
    set_statistics(theirs, rng)
    ours = {"Encoder": VideoEncoder, "Decoder": VideoDecoder}[kind](VideoVAEParams.from_config(config))
    copy_weights(theirs, ours)
    return ours, theirs


@pytest.mark.parametrize("version", ["2.3", "2.0"])
def test_encode(version, parity, rng, randomise, copy_weights):
    ours, theirs = vendor_pair("Encoder", small_config(version), rng, randomise, copy_weights)
    for frames, what in ((1, "image"), (17, "17 frames"), (13, "13 frames, 4 surplus")):
        video = pixels(rng, frames)
        parity.check(f"video VAE {version} encode, {what}", "ltx-core 1.0.0", ours(video), theirs(video), TOLERANCE)


@pytest.mark.parametrize(
    ("version", "changes"), [("2.3", {}), ("2.0", {}), ("2.3", {"causal_decoder": True})], ids=["2.3", "2.0", "causal"]
)
def test_decode_whole(version, changes, parity, rng, randomise, copy_weights):
    config = small_config(version, **changes)
    ours, theirs = vendor_pair("Decoder", config, rng, randomise, copy_weights)
    name = f"video VAE {version} decode{', causal' if changes else ''}"
    latent = torch.randn((1, 16, 3, 2, 3), generator=rng)
    reference = theirs(latent)
    parity.check(name, "ltx-core 1.0.0", ours(latent), reference, TOLERANCE)
    frames = ((reference[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    parity.check(f"{name}, frames", "ltx-core 1.0.0", decode_whole(ours, latent), frames, TOLERANCE)


def our_pair(config: dict, rng, randomise) -> tuple[VideoEncoder, VideoDecoder, dict]:
    """Our encoder and decoder with random weights, and those weights as one file has them (without `vae.`)."""
    params = VideoVAEParams.from_config(config)
    encoder, decoder = randomise(VideoEncoder(params), rng), randomise(VideoDecoder(params), rng)
    set_statistics(encoder, rng)
    decoder.per_channel_statistics.load_state_dict(encoder.per_channel_statistics.state_dict())
    state = {}
    for side, module in (("encoder", encoder), ("decoder", decoder)):
        for name, tensor in module.state_dict().items():
            state[name if name.startswith("per_channel_statistics.") else f"{side}.{name}"] = tensor
    return encoder, decoder, state


def vendor_tiling(tiling: Tiling):
    from ltx_core.model.video_vae.tiling import SpatialTilingConfig, TemporalTilingConfig, TilingConfig

    return TilingConfig(
        SpatialTilingConfig(tiling.spatial_tile, tiling.spatial_overlap),
        TemporalTilingConfig(tiling.temporal_tile, tiling.temporal_overlap),
    )


@pytest.mark.parametrize(
    ("version", "shape", "tiling"),
    [
        ("2.3", (6, 3, 5), Tiling(96, 32, 24, 8)),
        ("2.3", (4, 5, 3), Tiling(64, 32, 16, 8)),  # overlaps of half a tile
        ("2.3", (5, 2, 5), Tiling(128, 96, 24, 16)),  # three tiles over one another
        ("2.3", (3, 2, 2), Tiling(64, 0, 16, 0)),
        ("2.0", (5, 4, 3), Tiling(96, 32, 24, 8)),
    ],
)
def test_decode_tiled(version, shape, tiling, parity, rng, randomise, copy_weights):
    config = small_config(version)
    ours, theirs = vendor_pair("Decoder", config, rng, randomise, copy_weights)
    latent = torch.randn((1, 16, *shape), generator=rng)
    reference = torch.cat(list(theirs.tiled_decode(latent, vendor_tiling(tiling))), dim=2)
    frames = ((reference[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    ours_tiled = decode_tiled(ours, latent, tiling)
    assert (ours_tiled - decode_whole(ours, latent)).abs().max() > 1e-3, "the case does not tell tiled from whole"
    name = f"video VAE {version} decode, tiles {tiling.spatial_tile}/{tiling.spatial_overlap} px "
    name += f"{tiling.temporal_tile}/{tiling.temporal_overlap} frames"
    parity.check(name, "ltx-core 1.0.0", ours_tiled, frames, TOLERANCE)


def test_tile_layout(parity, rng):
    """Where the tiles lie and how they fade, for real sizes, without decoding."""
    from ltx_core.model.video_vae.model_configurator import VideoDecoderConfigurator

    vendor = VideoDecoderConfigurator.from_config(small_config())
    shapes = [(16, 32, 48), (16, 34, 60)]
    shapes += [tuple(torch.randint(1, 70, (3,), generator=rng).tolist()) for _ in range(20)]
    tilings = [DEFAULT_TILING, VENDOR_1_0_TILING, Tiling(320, 192, 40, 32)]
    ours, theirs = [], []
    for shape in shapes:
        for tiling in tilings:
            longer = max(shape[1:])
            axes = (
                temporal_tiles(shape[0], tiling),
                spatial_tiles(shape[1], longer, tiling),
                spatial_tiles(shape[2], longer, tiling),
            )
            grid = vendor._prepare_tiles(torch.empty((1, 16, *shape), device="meta"), vendor_tiling(tiling))
            assert len(grid) == len(axes[0]) * len(axes[1]) * len(axes[2])
            for axis, tiles in enumerate(axes):
                unique = {}
                for tile in grid:
                    unique[tile.in_coords[axis + 2].start, tile.in_coords[axis + 2].stop] = (
                        tile.out_coords[axis + 2],
                        tile.masks_1d[axis + 2],
                    )
                assert [(t.latent.start, t.latent.stop) for t in tiles] == list(unique)
                assert [t.output for t in tiles] == [output for output, _ in unique.values()]
                total = torch.zeros(max(t.output.stop for t in tiles))
                for output, mask in unique.values():
                    total[output] += mask
                ours += [t.weight for t in tiles]
                theirs += [mask / total[output].clamp(min=1e-8) for output, mask in unique.values()]
    parity.check("video VAE tile weights", "ltx-core 1.0.0", torch.cat(ours), torch.cat(theirs), 1e-6)


def diffusers_name(name: str, levels: int) -> str:
    """Our tensor name -> diffusers', which joins a stage and the resampling after (decoder: before) it in one block."""
    name = name.replace(".res_blocks.", ".resnets.")
    match = re.fullmatch(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.*)", name)
    if match is None:
        return name
    side, way, index, rest = match[1], match[2], int(match[3]), match[4]
    if index == (2 * levels if way == "down" else 0):
        return f"{side}.mid_block.{rest}"
    block = index // 2 if way == "down" else (index - 1) // 2
    return f"{side}.{way}_blocks.{block}.{rest if rest.startswith('resnets') else f'{way}samplers.0.{rest}'}"


@pytest.mark.parametrize("version", ["2.3", "2.0"])
def test_diffusers(version, parity, rng, randomise):
    from diffusers import AutoencoderKLLTX2Video

    common = {
        "latent_channels": 16,
        "layers_per_block": (1, 2, 1, 1, 1),
        "decoder_causal": False,
        "timestep_conditioning": False,
        "encoder_spatial_padding_mode": "zeros",
    }
    if version == "2.3":
        config = {
            "block_out_channels": (32, 64, 128, 128),
            "decoder_block_out_channels": (16, 32, 32, 64),
            "decoder_layers_per_block": (1, 2, 1, 1, 1),
            "decoder_spatio_temporal_scaling": (True,) * 4,
            "decoder_inject_noise": (False,) * 5,
            "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            "upsample_residual": (False,) * 4,
            "upsample_factor": (2, 2, 1, 2),
            "decoder_spatial_padding_mode": "zeros",
        }
    else:
        config = {
            "block_out_channels": (32, 64, 128, 256),
            "decoder_block_out_channels": (16, 32, 64),
            "decoder_layers_per_block": (1, 1, 1, 1),
            "upsample_type": ("spatiotemporal",) * 3,
            "upsample_residual": (True,) * 3,
            "upsample_factor": (2, 2, 2),
            "decoder_spatial_padding_mode": "reflect",
        }
    theirs = AutoencoderKLLTX2Video(**common, **config)
    encoder, decoder, state = our_pair(small_config(version), rng, randomise)
    names = {
        "per_channel_statistics.mean-of-means": "latents_mean",
        "per_channel_statistics.std-of-means": "latents_std",
    }
    levels = len(config["block_out_channels"])
    theirs.load_state_dict({names.get(k, diffusers_name(k, levels)): v for k, v in state.items()}, strict=True)

    video = pixels(rng, 9)
    means = theirs.encode(video).latent_dist.mode()
    mean, std = (getattr(theirs, f"latents_{name}").view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    name = f"video VAE {version}"
    parity.check(f"{name} encode", "diffusers 0.42.1", encoder(video), (means - mean) / std, TOLERANCE)
    latent = torch.randn((1, 16, 2, 2, 3), generator=rng)
    reference = theirs.decode(latent * std + mean).sample
    parity.check(f"{name} decode", "diffusers 0.42.1", decoder(latent), reference, TOLERANCE)


# ComfyUI sets process-wide state on import, so its VAE runs in a process of its own.
COMFYUI_SCRIPT = """
import contextlib, json, sys
import torch
with contextlib.suppress(ImportError):  # a CPU-only torchvision may need it
    import torchvision_cpu_ops
folder, comfyui = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from safetensors.torch import load_file, save_file
outputs = {}
with torch.no_grad():
    for version, config in json.load(open(f"{folder}/configs.json")).items():
        vae = VideoVAE(config=config).eval()
        vae.load_state_dict(load_file(f"{folder}/{version}.safetensors"), strict=True)
        inputs = load_file(f"{folder}/{version}-inputs.safetensors")
        outputs[f"{version} latent"] = vae.encode(inputs["pixels"])
        outputs[f"{version} pixels"] = vae.decode(inputs["latent"])
save_file({k: v.float().contiguous() for k, v in outputs.items()}, f"{folder}/outputs.safetensors")
"""


def test_comfyui(parity, rng, randomise, tmp_path):
    ours, configs = {}, {}
    for version in ("2.3", "2.0"):
        # ComfyUI's statistics always have 128 channels; its encoder's base width is its own, as ours.
        config = small_config(version, latent=128)
        encoder, decoder, state = our_pair(config, rng, randomise)
        inputs = {"pixels": pixels(rng, 11), "latent": torch.randn((1, 128, 3, 3, 2), generator=rng)}
        save_file(state, tmp_path / f"{version}.safetensors")
        save_file(inputs, tmp_path / f"{version}-inputs.safetensors")
        configs[version] = config["vae"]
        ours |= {f"{version} latent": encoder(inputs["pixels"]), f"{version} pixels": decoder(inputs["latent"])}
    (tmp_path / "configs.json").write_text(json.dumps(configs))
    run = [sys.executable, "-c", COMFYUI_SCRIPT, str(tmp_path), str(COMFYUI)]
    result = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    reference = load_file(tmp_path / "outputs.safetensors")
    assert set(reference) == set(ours)
    for name, tensor in ours.items():
        what = "encode" if name.endswith("latent") else "decode"
        parity.check(f"video VAE {name[:3]} {what}", "ComfyUI 0.30.0", tensor, reference[name], TOLERANCE)
