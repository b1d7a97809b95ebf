"""A video VAE that is small enough for unit tests, and the official one's config."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams

OFFICIAL = Path(__file__).parents[2] / "data" / "ltx-2.3-config.json"


@pytest.fixture
def official_config() -> dict:
    return json.loads(OFFICIAL.read_text())


@pytest.fixture
def small_config(official_config) -> dict:
    config = copy.deepcopy(official_config)
    for _, options in config["vae"]["encoder_blocks"] + config["vae"]["decoder_blocks"]:
        if "num_layers" in options:
            options["num_layers"] = 1
    config["vae"] |= {"latent_channels": 16, "encoder_base_channels": 8, "decoder_base_channels": 4}
    return config


def _randomised(module: nn.Module, generator: torch.Generator) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1))
        module.per_channel_statistics.load_state_dict(
            {
                "mean-of-means": torch.randn(16, generator=generator),
                "std-of-means": 0.5 + torch.rand(16, generator=generator),
            }
        )
    return module


@pytest.fixture
def encoder(small_config, rng) -> VideoEncoder:
    return _randomised(VideoEncoder(VideoVAEParams.from_config(small_config)), rng)


@pytest.fixture
def decoder(small_config, rng) -> VideoDecoder:
    return _randomised(VideoDecoder(VideoVAEParams.from_config(small_config)), rng)
