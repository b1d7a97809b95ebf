"""The latent upsampler against the vendor's package, diffusers and ComfyUI's own code, with random weights."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams, upsample_latent
from ltx_duo.ltx_core.video_vae import PerChannelStatistics

COMFYUI = Path(__file__).parents[2] / ".local" / "comfyui-0.30.0"
SMALL = {"_class_name": "LatentUpsampler", "in_channels": 16, "mid_channels": 64, "num_blocks_per_stage": 2, "dims": 3}
CASES = {
    "x2": {"spatial_scale": 2.0, "rational_resampler": False},
    "x1.5": {"spatial_scale": 1.5, "rational_resampler": True},
    "x0.75": {"spatial_scale": 0.75, "rational_resampler": True},
    "x2 rational": {"spatial_scale": 2.0, "rational_resampler": True},
    "x4": {"spatial_scale": 4.0, "rational_resampler": True},
    "temporal x2": {"spatial_upsample": False, "temporal_upsample": True, "rational_resampler": True},
}


@pytest.fixture(params=CASES, name="case")
def case_fixture(request) -> tuple[str, dict]:
    return request.param, SMALL | {"spatial_upsample": True, "temporal_upsample": False} | CASES[request.param]


@pytest.fixture(name="latent")
def latent_fixture(rng) -> torch.Tensor:
    return torch.randn((2, 16, 3, 5, 8), generator=rng)  # an odd height too


def test_vendor(case, latent, parity, rng, randomise, copy_weights):
    from ltx_core.model.upsampler import LatentUpsamplerConfigurator, upsample_video
    from ltx_core.model.video_vae import ops

    name, config = case
    theirs = LatentUpsamplerConfigurator.from_config(config)
    ours = LatentUpsampler(UpsamplerParams.from_config(config))
    for buffer, value in theirs.named_buffers():  # the blur, which ours must know without a file
        parity.check(f"upsampler {name} {buffer}", "ltx-core 1.0.0", ours.get_buffer(buffer), value, 0)
    copy_weights(randomise(theirs, rng), ours)
    parity.check(f"upsampler {name}", "ltx-core 1.0.0", ours(latent), theirs(latent), 1e-5)

    their_statistics, statistics = ops.PerChannelStatistics(16), PerChannelStatistics(16)
    their_statistics.get_buffer("mean-of-means").copy_(torch.randn(16, generator=rng))
    their_statistics.get_buffer("std-of-means").copy_(0.5 + torch.rand(16, generator=rng))
    copy_weights(their_statistics, statistics)
    reference = upsample_video(latent, SimpleNamespace(per_channel_statistics=their_statistics), theirs)
    parity.check(
        f"upsample normalised, {name}", "ltx-core 1.0.0", upsample_latent(ours, statistics, latent), reference, 1e-5
    )


def test_diffusers(case, latent, parity, rng, randomise, copy_weights):
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    name, config = case
    theirs = LTX2LatentUpsamplerModel(
        in_channels=16,
        mid_channels=64,
        num_blocks_per_stage=2,
        spatial_upsample=config["spatial_upsample"],
        temporal_upsample=config["temporal_upsample"],
        rational_spatial_scale=config.get("spatial_scale"),
        use_rational_resampler=config["rational_resampler"],
    )
    ours = LatentUpsampler(UpsamplerParams.from_config(config))
    copy_weights(randomise(theirs, rng), ours)
    parity.check(f"upsampler {name}", "diffusers 0.42.1", ours(latent), theirs(latent), 1e-5)


def test_comfyui(case, latent, parity, rng, randomise, copy_weights):
    # This one file of ComfyUI imports nothing else of it.
    path = COMFYUI / "comfy" / "ldm" / "lightricks" / "latent_upsampler.py"
    spec = importlib.util.spec_from_file_location("comfyui_latent_upsampler", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    name, config = case
    theirs = module.LatentUpsampler.from_config(config, torch.nn)
    ours = LatentUpsampler(UpsamplerParams.from_config(config))
    copy_weights(randomise(theirs, rng), ours)
    parity.check(f"upsampler {name}", "ComfyUI 0.30.0", ours(latent), theirs(latent), 1e-5)
