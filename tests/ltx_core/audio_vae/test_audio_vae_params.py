"""Audio VAE: sizes from the config, official names, clear errors."""

import copy
import json
from pathlib import Path

import pytest

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.errors import CheckpointError

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())


def config_with(**ddconfig) -> dict:
    config = copy.deepcopy(CONFIG_23)
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ddconfig)
    return config


@pytest.mark.parametrize("component, kind", [("audio_encoder", AudioEncoder), ("audio_decoder", AudioDecoder)])
def test_official_config_builds_the_official_tensors(component, kind, official_tensors):
    module = kind(AudioVAEParams.from_config(CONFIG_23), device="meta")
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == official_tensors(component)


def test_official_sizes():
    params = AudioVAEParams.from_config(CONFIG_23)
    assert (params.latent_channels, params.latent_mel_bins, params.token_width) == (8, 16, 128)
    assert params.sampling_rate / params.hop_length / 4 == 25


def test_missing_entries_have_the_official_values():
    bare = {"audio_vae": {"model": {"params": {"ddconfig": {}}}}}
    assert AudioVAEParams.from_config(bare) == AudioVAEParams.from_config(CONFIG_23)


@pytest.mark.parametrize(
    "ddconfig, words",
    [
        ({"norm_type": "group"}, "norm_type = 'group', expected 'pixel'"),
        ({"causality_axis": "width"}, "causality_axis = 'width', expected 'height'"),
        ({"double_z": False}, "double_z"),
        ({"mid_block_add_attention": True}, "mid_block_add_attention"),
        ({"attn_resolutions": [64]}, "attn_resolutions"),
        ({"ch_mult": [1, 2]}, "three levels"),
        ({"ch_mult": [1, 2, 4, 8]}, "three levels"),
        ({"mel_bins": 66}, "multiple of 4"),
        ({"ch": 64}, "ch = 64, .*8 \\* 64 / 4 = 128"),
        ({"z_channels": 4}, "ch = 128, .*4 \\* 64 / 4 = 64"),
    ],
)
def test_unsupported_values_are_named(ddconfig, words):
    with pytest.raises(CheckpointError, match=words):
        AudioVAEParams.from_config(config_with(**ddconfig))


@pytest.mark.parametrize("config", [{}, {"audio_vae": None}])
def test_missing_section_is_named(config):
    with pytest.raises(CheckpointError, match="no 'audio_vae' section"):
        AudioVAEParams.from_config(config)
