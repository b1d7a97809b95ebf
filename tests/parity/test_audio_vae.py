"""Audio autoencoder and mel front end against the vendor's, diffusers' and torchaudio."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torchaudio

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams, log_mel, resample, waveform_to_mel
from ltx_duo.ltx_core.audio_vae.mel import mel_filterbank

VENDOR, DIFFUSERS, TORCHAUDIO = "ltx-core 1.0.0", "diffusers 0.42.1", "torchaudio"
CONFIG_23 = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())
SMALL = [
    {"ch": 32, "z_channels": 2},
    {"ch": 24, "z_channels": 3, "mel_bins": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1},
]


def small_config(ddconfig: dict) -> dict:
    config = copy.deepcopy(CONFIG_23)
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ddconfig)
    return config


def fill_statistics(module: torch.nn.Module, rng: torch.Generator) -> None:
    statistics = module.per_channel_statistics
    width = statistics.get_buffer("mean-of-means").shape
    statistics.get_buffer("mean-of-means").copy_(torch.randn(width, generator=rng))
    statistics.get_buffer("std-of-means").copy_(0.5 + torch.rand(width, generator=rng))


@pytest.mark.parametrize("ddconfig", SMALL)
@pytest.mark.parametrize("frames", [1, 4, 5, 18])
def test_encoder_equals_vendor(ddconfig, frames, parity, rng, randomise, copy_weights):
    from ltx_core.model.audio_vae.model_configurator import AudioEncoderConfigurator

    config = small_config(ddconfig)
    params = AudioVAEParams.from_config(config)
    reference = randomise(AudioEncoderConfigurator.from_config(config), rng)
    fill_statistics(reference, rng)
    ours = AudioEncoder(params)
    copy_weights(reference, ours)
    mel = torch.randn(2, 2, frames, params.mel_bins, generator=rng) * 3 - 4
    parity.check(f"audio encoder, {frames} mel frames", VENDOR, ours(mel), reference(mel), 1e-5)


@pytest.mark.parametrize("ddconfig", SMALL)
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_decoder_equals_vendor(ddconfig, frames, parity, rng, randomise, copy_weights):
    from ltx_core.model.audio_vae.model_configurator import AudioDecoderConfigurator

    config = small_config(ddconfig)
    params = AudioVAEParams.from_config(config)
    reference = randomise(AudioDecoderConfigurator.from_config(config), rng)
    fill_statistics(reference, rng)
    ours = AudioDecoder(params)
    copy_weights(reference, ours)
    latent = torch.randn(2, params.latent_channels, frames, params.latent_mel_bins, generator=rng)
    parity.check(f"audio decoder, {frames} latent frames", VENDOR, ours(latent), reference(latent), 1e-5)


def test_full_size_names_equal_vendor():
    from ltx_core.model.audio_vae.model_configurator import AudioDecoderConfigurator, AudioEncoderConfigurator

    params = AudioVAEParams.from_config(CONFIG_23)
    for configurator, ours in ((AudioEncoderConfigurator, AudioEncoder), (AudioDecoderConfigurator, AudioDecoder)):
        with torch.device("meta"):
            reference = configurator.from_config(CONFIG_23)
        expected = {name: tensor.shape for name, tensor in reference.state_dict().items()}
        assert {name: tensor.shape for name, tensor in ours(params, device="meta").state_dict().items()} == expected


@pytest.fixture(scope="module")
def diffusers_vae():
    from diffusers import AutoencoderKLLTX2Audio

    return AutoencoderKLLTX2Audio(base_channels=32, latent_channels=2, mel_bins=64)


def load_diffusers(reference: torch.nn.Module, part: str, ours: torch.nn.Module) -> None:
    state = getattr(reference, part).state_dict()
    state["per_channel_statistics.mean-of-means"] = reference.latents_mean
    state["per_channel_statistics.std-of-means"] = reference.latents_std
    ours.load_state_dict(state, strict=True)


def test_equals_diffusers(diffusers_vae, parity, rng, randomise):
    """Diffusers keeps the statistics outside: the pipeline applies them to packed tokens (B, T, C * M)."""
    from diffusers.pipelines.ltx2.pipeline_ltx2 import LTX2Pipeline

    params = AudioVAEParams.from_config(small_config(SMALL[0]))
    reference = randomise(diffusers_vae, rng)
    reference.latents_mean.copy_(torch.randn(32, generator=rng))
    reference.latents_std.copy_(0.5 + torch.rand(32, generator=rng))
    statistics = (reference.latents_mean, reference.latents_std)

    encoder = AudioEncoder(params)
    load_diffusers(reference, "encoder", encoder)
    mel = torch.randn(1, 2, 13, 64, generator=rng)
    packed = LTX2Pipeline._pack_audio_latents(reference.encode(mel).latent_dist.mode())
    packed = LTX2Pipeline._normalize_audio_latents(packed, *statistics)
    expected = LTX2Pipeline._unpack_audio_latents(packed, 4, num_mel_bins=16)
    parity.check("audio encoder", DIFFUSERS, encoder(mel), expected, 1e-5)

    decoder = AudioDecoder(params)
    load_diffusers(reference, "decoder", decoder)
    latent = torch.randn(1, 2, 5, 16, generator=rng)
    packed = LTX2Pipeline._denormalize_audio_latents(LTX2Pipeline._pack_audio_latents(latent), *statistics)
    unpacked = LTX2Pipeline._unpack_audio_latents(packed, 5, num_mel_bins=16)
    parity.check("audio decoder", DIFFUSERS, decoder(latent), reference.decode(unpacked).sample, 1e-5)


def test_mel_filterbank_equals_torchaudio(parity):
    for rate, n_fft, bins in ((16000, 1024, 64), (16000, 512, 64), (48000, 2048, 80)):
        expected = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, 0.0, rate / 2, bins, rate, norm="slaney", mel_scale="slaney"
        )
        # torchaudio computes the corners in float32, hence not equal to the last bit.
        parity.check(f"mel bands {rate} Hz", TORCHAUDIO, mel_filterbank(rate, n_fft, bins), expected.T, 1e-5)


@pytest.mark.parametrize("samples", [513, 5000, 16001])
def test_log_mel_equals_vendor(samples, parity, rng):
    from ltx_core.model.audio_vae.ops import AudioProcessor
    from ltx_core.types import Audio

    waveform = torch.randn(2, 2, samples, generator=rng) * 0.1
    waveform[:, :, samples // 2 :] *= 1e-5  # reaches the floor too
    processor = AudioProcessor(target_sample_rate=16000, mel_bins=64, mel_hop_length=160, n_fft=1024)
    expected = processor.waveform_to_mel(Audio(waveform=waveform, sampling_rate=16000))
    parity.check(f"log mel, {samples} samples", f"{VENDOR}, torchaudio", log_mel(waveform), expected, 1e-5)


def test_waveform_to_mel_equals_vendor(parity, rng):
    from ltx_core.model.audio_vae.ops import AudioProcessor
    from ltx_core.types import Audio

    waveform = torch.randn(1, 2, 9000, generator=rng) * 0.3
    processor = AudioProcessor(target_sample_rate=16000, mel_bins=64, mel_hop_length=160, n_fft=1024)
    expected = processor.waveform_to_mel(Audio(waveform=waveform, sampling_rate=44100))
    ours = waveform_to_mel(waveform, 44100, AudioVAEParams.from_config(CONFIG_23))
    parity.check("waveform to mel, 44100 Hz", f"{VENDOR}, torchaudio", ours, expected, 1e-4)


@pytest.mark.parametrize("source", [8000, 11025, 24000, 44100, 48000, 96000])
def test_resample_equals_torchaudio(source, parity, rng):
    """In float64 to rounding; in float32 torchaudio rounds its filter phases, so the two differ by up to 2e-5."""
    waveform = torch.randn(2, 1234, generator=rng, dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        expected = torchaudio.functional.resample(waveform.to(dtype), source, 16000)
        ours = resample(waveform.to(dtype), source, 16000)
        parity.check(f"resample {source} to 16000 Hz, {dtype}", TORCHAUDIO, ours, expected, tolerance)
