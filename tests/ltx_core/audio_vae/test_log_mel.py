"""Mel front end: bands, levels, lengths, resampling."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.audio_vae import AudioVAEParams, log_mel, resample, waveform_to_mel
from ltx_duo.ltx_core.audio_vae.mel import mel_filterbank
from ltx_duo.ltx_core.errors import GeometryError

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
PARAMS = AudioVAEParams.from_config(CONFIG_23)


def tone(hz: float, rate: int, samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(samples, dtype=torch.float64) / rate).float()


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(513, 4000))
def test_frames(samples):
    assert log_mel(torch.zeros(1, 2, samples)).shape == (1, 2, 1 + samples // 160, 64)


def test_silence_is_the_floor():
    assert torch.equal(log_mel(torch.zeros(1, 2, 2000)), torch.full((1, 2, 13, 64), math.log(1e-5)))


def test_magnitudes_not_powers(rng):
    """Twice the amplitude adds log 2 (a power spectrum would add log 4)."""
    waveform = torch.randn(1, 2, 4000, generator=rng)
    torch.testing.assert_close(log_mel(2 * waveform) - log_mel(waveform), torch.full((1, 2, 26, 64), math.log(2.0)))


@pytest.mark.parametrize("hz", [250.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_lies_in_its_band(hz):
    """Slaney's scale: 15 mel at 1 kHz, 200/3 Hz a mel below, 27 logarithmic steps per factor 6.4 above."""

    def mel(frequency: float) -> float:
        return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * math.log(frequency / 1000, 6.4)

    bands = log_mel(tone(hz, 16000, 8000).expand(1, 2, -1))[0, 0, 20:30].mean(dim=0)
    expected = mel(hz) / mel(8000) * 65 - 1
    assert abs(bands.argmax().item() - expected) <= 1


def test_bands_have_equal_area():
    """Slaney's norm: each triangle has area 1 (in Hz), as far as 15.6 Hz steps resolve it."""
    bands = mel_filterbank()
    areas = bands.sum(dim=1) * 16000 / 1024
    assert bands.shape == (64, 513)
    torch.testing.assert_close(areas[8:], torch.ones(56), rtol=0.03, atol=0)


@pytest.mark.parametrize("samples", [0, 1, 512])
def test_too_short_sound_is_named(samples):
    with pytest.raises(GeometryError, match=f"{samples} samples.*at least 513"):
        log_mel(torch.zeros(1, 2, samples))


@settings(max_examples=30, deadline=None)
@given(source=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 192000]), samples=st.integers(1, 700))
def test_resampled_length(source, samples):
    assert resample(torch.zeros(2, samples), source, 16000).shape == (2, math.ceil(samples * 16000 / source))


@pytest.mark.parametrize("source", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_in_place(source):
    resampled = resample(tone(440, source, source // 4), source, 16000)
    expected = tone(440, 16000, resampled.shape[-1])
    torch.testing.assert_close(resampled[200:-200], expected[200:-200], atol=5e-3, rtol=0)


def test_resampling_removes_what_would_fold_back():
    resampled = resample(tone(10000, 48000, 12000), 48000, 16000)
    assert resampled[200:-200].abs().max() < 0.02


def test_same_rate_is_untouched():
    waveform = torch.randn(1, 2, 100)
    assert resample(waveform, 16000, 16000) is waveform


def test_mono_is_used_for_both_sides(rng):
    mono = torch.randn(1, 1, 3000, generator=rng)
    mel = waveform_to_mel(mono, 24000, PARAMS)
    assert mel.shape == (1, 2, 13, 64)
    assert torch.equal(mel, waveform_to_mel(mono.expand(-1, 2, -1), 24000, PARAMS))


@pytest.mark.parametrize("shape", [(1, 6, 3000), (2, 3000)])
def test_other_channel_counts_are_named(shape):
    with pytest.raises(GeometryError, match="1 or 2 channels"):
        waveform_to_mel(torch.zeros(shape), 16000, PARAMS)
