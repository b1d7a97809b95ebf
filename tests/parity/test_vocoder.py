"""Vocoder against the vendor's and diffusers', LTX-2.3's and LTX-2.0's."""

import copy
import json
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.vocoder import VocoderParams, build_vocoder
from ltx_duo.ltx_core.vocoder.activation import kaiser_lowpass
from ltx_duo.ltx_core.vocoder.bandwidth_extension import resampling_taps, sinc_upsample

VENDOR, DIFFUSERS = "ltx-core 1.0.0", "diffusers 0.42.1"
CONFIG_23 = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
# The flat section of LTX-2.0 files, its sizes spelled out, with few channels.
VOCODER_20 = {
    "upsample_initial_channel": 64,
    "resblock": "1",
    "upsample_rates": [6, 5, 2, 2, 2],
    "upsample_kernel_sizes": [16, 15, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "stereo": True,
    "output_sampling_rate": 24000,
}


def small_config() -> dict:
    config = copy.deepcopy(CONFIG_23)
    config["vocoder"]["vocoder"]["upsample_initial_channel"] = 128
    config["vocoder"]["bwe"]["upsample_initial_channel"] = 64
    return config


def randomise_vocoder(module: torch.nn.Module, rng: torch.Generator, randomise) -> None:
    """Random weights, and buffers that differ from their computed values: a module that ignores them is caught."""
    randomise(module, rng)
    for name, buffer in module.named_buffers():
        if name.endswith("filter") and "resampler" not in name:
            buffer.mul_(1 + 0.2 * torch.randn(buffer.shape, generator=rng))
        elif name.endswith("forward_basis"):
            buffer.copy_(torch.randn(buffer.shape, generator=rng))
        elif name.endswith("mel_basis"):
            buffer.copy_(torch.rand(buffer.shape, generator=rng) / buffer.shape[1])


def calibrate(reference: torch.nn.Module, mel: torch.Tensor) -> None:
    """Scales both last layers (they have no bias) so that the sound is clamped here and there, but not everywhere."""
    reference.vocoder.apply_final_activation = False
    reference.vocoder.conv_post.weight.mul_(0.6 / reference.vocoder(mel).std())
    reference.vocoder.apply_final_activation = True
    narrow = reference.vocoder(mel)
    narrow = narrow[..., : narrow.shape[-1] // reference.hop_length * reference.hop_length]
    bands, *_ = reference.mel_stft.mel_spectrogram(narrow.flatten(0, 1))
    residual = reference.bwe_generator(bands.unflatten(0, narrow.shape[:2]).transpose(2, 3))
    reference.bwe_generator.conv_post.weight.mul_(0.6 / residual.std())


@pytest.mark.parametrize("frames", [1, 9])
def test_vocoder_23_equals_vendor(frames, parity, rng, randomise, copy_weights):
    from ltx_core.model.audio_vae.model_configurator import VocoderConfigurator

    reference = VocoderConfigurator.from_config(small_config())
    randomise_vocoder(reference, rng, randomise)
    mel = torch.randn(2, 2, frames, 64, generator=rng) * 2 - 3
    calibrate(reference, mel)
    ours = build_vocoder(VocoderParams.from_config(small_config()))
    copy_weights(reference, ours)
    expected = reference(mel)
    assert 0.01 < (expected.abs() == 1).float().mean() < 0.6
    parity.check(f"vocoder 2.3 with bandwidth extension, {frames} mel frames", VENDOR, ours(mel), expected, 1e-5)
    narrow = reference.vocoder(mel)
    assert 0 < (narrow.abs() == 1).float().mean() < 0.6
    parity.check(f"vocoder 2.3, 16 kHz, {frames} mel frames", VENDOR, ours.vocoder(mel), narrow, 1e-5)
    bands, *_ = reference.mel_stft.mel_spectrogram(narrow.flatten(0, 1))
    bands = bands.unflatten(0, (2, 2)).transpose(2, 3)
    parity.check(f"vocoder 2.3, mel of 16 kHz, {frames} mel frames", VENDOR, ours.mel_stft(narrow), bands, 1e-5)
    residual = reference.bwe_generator(bands)
    parity.check(f"vocoder 2.3, residual, {frames} mel frames", VENDOR, ours.bwe_generator(bands), residual, 1e-5)


def test_padding_to_whole_hops_equals_vendor(parity, rng, randomise, copy_weights):
    """With a hop of 96 the 16 kHz sound is no whole number of hops (LTX-2.3's own hop of 80 always fits)."""
    from ltx_core.model.audio_vae.model_configurator import VocoderConfigurator

    config = small_config()
    hop = {"hop_length": 96, "upsample_rates": [6, 6, 2, 2, 2], "upsample_kernel_sizes": [12, 12, 4, 4, 4]}
    config["vocoder"]["bwe"].update(hop)
    reference = VocoderConfigurator.from_config(config)
    randomise_vocoder(reference, rng, randomise)
    mel = torch.randn(1, 2, 4, 64, generator=rng) * 2 - 3
    calibrate(reference, mel)
    ours = build_vocoder(VocoderParams.from_config(config))
    copy_weights(reference, ours)
    parity.check("vocoder 2.3, padded to whole hops", VENDOR, ours(mel), reference(mel), 1e-5)


@pytest.mark.parametrize("frames", [1, 9])
def test_vocoder_20_equals_vendor(frames, parity, rng, randomise, copy_weights):
    from ltx_core.model.audio_vae.model_configurator import VocoderConfigurator

    config = {**CONFIG_23, "vocoder": VOCODER_20}
    reference = randomise(VocoderConfigurator.from_config(config), rng)
    params = VocoderParams.from_config(config)
    ours = build_vocoder(params)
    copy_weights(reference, ours)
    mel = torch.randn(2, 2, frames, 64, generator=rng)
    parity.check(f"vocoder 2.0, {frames} mel frames", VENDOR, ours(mel), reference(mel), 1e-5)
    assert ours.output_sampling_rate == reference.output_sampling_rate


def test_full_size_names_equal_vendor():
    from ltx_core.model.audio_vae.model_configurator import VocoderConfigurator

    for config in (CONFIG_23, {**CONFIG_23, "vocoder": {**VOCODER_20, "upsample_initial_channel": 1024}}):
        with torch.device("meta"):
            reference = VocoderConfigurator.from_config(config)
        expected = {name: tensor.shape for name, tensor in reference.state_dict().items()}
        ours = build_vocoder(VocoderParams.from_config(config), device="meta")
        assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == expected


def to_diffusers(name: str) -> str:
    for ours, theirs in (
        ("conv_pre", "conv_in"),
        ("conv_post", "conv_out"),
        ("act_post", "act_out"),
        ("resblocks", "resnets"),
        ("ups.", "upsamplers."),
        ("lowpass.", ""),
    ):
        name = name.replace(ours, theirs)
    return name


def test_vocoder_23_equals_diffusers(parity, rng, randomise):
    """Diffusers does not clamp the 16 kHz waveform: equal where it is small, and clamped alike equal anywhere."""
    from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

    ours = build_vocoder(VocoderParams.from_config(small_config()))
    randomise_vocoder(ours, rng, randomise)
    reference = LTX2VocoderWithBWE(hidden_channels=128, bwe_hidden_channels=64)
    reference.load_state_dict({to_diffusers(k): v for k, v in ours.state_dict().items()}, strict=True)
    mel = torch.randn(1, 2, 7, 64, generator=rng) * 2 - 3

    def scale_to(peak: float) -> None:
        factor = peak / reference.vocoder(mel).abs().max()
        ours.vocoder.conv_post.weight.mul_(factor)
        reference.vocoder.conv_out.weight.mul_(factor)

    scale_to(2.0)
    expected = reference.vocoder(mel).clamp(-1, 1)
    parity.check("vocoder 2.3, 16 kHz", DIFFUSERS, ours.vocoder(mel), expected, 1e-5)
    scale_to(0.9)
    factor = 0.2 / (reference(mel) - reference.resampler(reference.vocoder(mel))).std().clamp_min(0.1)
    ours.bwe_generator.conv_post.weight.mul_(factor)
    reference.bwe_generator.conv_out.weight.mul_(factor)
    parity.check("vocoder 2.3 with bandwidth extension", DIFFUSERS, ours(mel), reference(mel), 1e-5)


def test_vocoder_20_equals_diffusers(parity, rng, randomise):
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    ours = randomise(build_vocoder(VocoderParams.from_config({**CONFIG_23, "vocoder": VOCODER_20})), rng)
    reference = LTX2Vocoder(hidden_channels=64)
    reference.load_state_dict({to_diffusers(k): v for k, v in ours.state_dict().items()}, strict=True)
    mel = torch.randn(1, 2, 7, 64, generator=rng)
    parity.check("vocoder 2.0", DIFFUSERS, ours(mel), reference(mel), 1e-5)


def test_filters_equal_vendor(parity, rng):
    from ltx_core.model.audio_vae.vocoder import UpSample1d, kaiser_sinc_filter1d

    expected = kaiser_sinc_filter1d(cutoff=0.25, half_width=0.3, kernel_size=12)
    parity.check("anti-aliasing filter", VENDOR, torch.tensor(kaiser_lowpass()), expected.flatten(), 1e-6)
    reference = UpSample1d(ratio=3, window_type="hann")
    parity.check("resampling filter", VENDOR, torch.tensor(resampling_taps(3)), reference.filter.flatten(), 1e-6)
    for samples in (1, 5, 400):
        waveform = torch.randn(2, 2, samples, generator=rng)
        ours = sinc_upsample(waveform, 3)
        parity.check(f"16 to 48 kHz, {samples} samples", VENDOR, ours, reference(waveform), 1e-6)
