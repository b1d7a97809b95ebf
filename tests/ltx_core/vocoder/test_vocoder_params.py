"""Vocoder: sizes from the config, official names, clear errors."""

import copy
import json
from pathlib import Path

import pytest

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.vocoder import HiFiGANVocoder, Vocoder, VocoderParams, build_vocoder

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())


def config_with(part: str, **entries) -> dict:
    config = copy.deepcopy(CONFIG_23)
    config["vocoder"][part].update(entries)
    return config


def test_official_config_builds_the_official_tensors(official_tensors):
    module = build_vocoder(VocoderParams.from_config(CONFIG_23), device="meta")
    assert isinstance(module, Vocoder)
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == official_tensors("vocoder")
    assert module.output_sampling_rate == 48000


def test_flat_section_builds_the_20_vocoder():
    """An empty section means LTX-2.0's own sizes: 1024 channels, 240 samples a mel frame, 24 kHz."""
    module = build_vocoder(VocoderParams.from_config({"vocoder": {}}), device="meta")
    assert isinstance(module, HiFiGANVocoder)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes["conv_pre.weight"] == (1024, 128, 7)
    assert [shapes[f"ups.{i}.weight"][2] for i in range(5)] == [16, 15, 8, 4, 4]
    assert (shapes["conv_post.weight"], shapes["conv_post.bias"]) == ((2, 32, 7), (2,))
    assert module.output_sampling_rate == 24000
    assert not any("filter" in name or "alpha" in name for name in shapes)


@pytest.mark.parametrize(
    "part, entries, words",
    [
        ("vocoder", {"resblock": "1"}, "vocoder.vocoder.resblock = '1', expected 'AMP1'"),
        ("bwe", {"resblock": "2"}, "vocoder.bwe.resblock = '2'"),
        ("vocoder", {"activation": "snake"}, "activation = 'snake', expected 'snakebeta'"),
        ("vocoder", {"stereo": False}, "stereo = False"),
        (
            "vocoder",
            {"upsample_rates": [5, 2, 2, 2, 2]},
            "upsample_rates = .* as many as upsample_kernel_sizes: 6, not 5",
        ),
        (
            "vocoder",
            {"resblock_kernel_sizes": [3, 7]},
            "resblock_kernel_sizes = .* as many as resblock_dilation_sizes: 3, not 2",
        ),
        ("vocoder", {"resblock_kernel_sizes": [3, 7, 10]}, "resblock_kernel_sizes = \\[3, 7, 10\\], expected odd"),
        (
            "vocoder",
            {"upsample_kernel_sizes": [10, 4, 4, 4, 4, 4]},
            "upsampling by 5 a size of 5 plus an even number, not 10",
        ),
        (
            "vocoder",
            {"upsample_kernel_sizes": [3, 4, 4, 4, 4, 4]},
            "upsampling by 5 a size of 5 plus an even number, not 3",
        ),
        ("vocoder", {"upsample_initial_channel": 96}, "= 96, expected a number that can be halved 6 times"),
        (
            "vocoder",
            {"upsample_rates": [5, 4, 2, 2, 2, 2]},
            "into 16000 Hz; these multiply to 320, which makes 32000 Hz",
        ),
        ("bwe", {"upsample_rates": [6, 3, 2, 2, 2]}, "hop_length \\* 3 = 240; these multiply to 144"),
        ("bwe", {"hop_length": 160}, "hop_length \\* 3 = 480; these multiply to 240"),
        ("bwe", {"output_sampling_rate": 44100}, "output_sampling_rate = 44100, expected a multiple of 16000 Hz"),
        ("bwe", {"input_sampling_rate": 48000, "hop_length": 240}, "into 48000 Hz; .*makes 16000 Hz"),
        ("bwe", {"n_fft": None}, "n_fft = None, expected a whole number"),
    ],
)
def test_unsupported_values_are_named(part, entries, words):
    with pytest.raises(CheckpointError, match=words):
        VocoderParams.from_config(config_with(part, **entries))


@pytest.mark.parametrize("config", [{}, {"vocoder": None}])
def test_missing_section_is_named(config):
    with pytest.raises(CheckpointError, match="no 'vocoder' section"):
        VocoderParams.from_config(config)


def test_20_rate_must_fit_the_mel_frames():
    with pytest.raises(CheckpointError, match="into 16000 Hz; .*makes 24000 Hz"):
        VocoderParams.from_config({"vocoder": {"output_sampling_rate": 16000}})


def test_mel_bins_come_from_the_audio_vae():
    config = copy.deepcopy(CONFIG_23)
    config["audio_vae"]["model"]["params"]["ddconfig"].update(mel_bins=32, ch=64)
    params = VocoderParams.from_config(config)
    assert (params.generator.mel_bins, params.bandwidth_extension.generator.mel_bins) == (32, 64)
