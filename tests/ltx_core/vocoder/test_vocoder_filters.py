"""Anti-aliased activation, resampling and STFT: golden taps, alignment, edges, and that the file's filters are used."""

import math

import pytest
import torch
import torch.nn.functional as F

from ltx_duo.ltx_core.vocoder.activation import AntiAliasedSnake, SnakeBeta, Upsample2, kaiser_lowpass
from ltx_duo.ltx_core.vocoder.bandwidth_extension import STFT, MelSTFT, resampling_taps, sinc_upsample
from ltx_duo.ltx_core.vocoder.params import BandwidthExtensionParams, GeneratorParams


def sine(hz: float, rate: int, samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(samples, dtype=torch.float64) / rate).float()[None, None]


def test_kaiser_taps():
    half = [0.0020290, 0.0093895, -0.0255435, -0.0576574, 0.1285726, 0.4432098]
    assert kaiser_lowpass() == pytest.approx(half + half[::-1], abs=5e-8)


def test_resampling_taps():
    taps = resampling_taps(3)
    assert len(taps) == 43
    assert taps[21] == pytest.approx(0.33, abs=1e-12)
    assert taps[[20, 22]] == pytest.approx([0.2719428] * 2, abs=5e-8)
    assert taps.sum() == pytest.approx(1.0004659, abs=5e-8)


def test_snakebeta_formula(rng):
    snake = SnakeBeta(3)
    alpha, beta = torch.randn(3, generator=rng), torch.randn(3, generator=rng)
    snake.load_state_dict({"alpha": alpha, "beta": beta}, strict=True)
    x = torch.randn(2, 3, 7, generator=rng, dtype=torch.float64)
    result = snake(x)
    for c in range(3):
        expected = x[:, c] + torch.sin(x[:, c] * math.exp(alpha[c])) ** 2 / (math.exp(beta[c]) + 1e-9)
        torch.testing.assert_close(result[:, c], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 17])
def test_a_constant_stays_constant_up_to_the_edges(samples):
    """The edges are repeated, so a constant signal has none."""
    x = torch.full((1, 2, samples), 0.7)
    result = AntiAliasedSnake(2)(x)
    assert result.shape == x.shape
    torch.testing.assert_close(result, x + torch.sin(x) ** 2, rtol=1e-5, atol=1e-6)


def test_slow_signals_are_not_delayed():
    """Upsampled values lie a quarter step before and after each sample; a wrong crop moves them by half a step."""
    x = sine(1, 200, 400)
    quarters = torch.sin(2 * math.pi * (torch.arange(800) / 2 - 0.25) / 200)
    with torch.no_grad():
        torch.testing.assert_close(Upsample2()(x)[0, 0, 10:-10], quarters[10:-10], rtol=0, atol=1e-3)
        inside = slice(10, -10)
        expected = x + torch.sin(x) ** 2
        torch.testing.assert_close(AntiAliasedSnake(1)(x)[..., inside], expected[..., inside], rtol=0, atol=1e-4)


def test_overtones_do_not_fold_back():
    """Snake doubles frequencies: 0.325 of the rate becomes 0.65, which folds back to 0.35 without the filters."""
    x = 0.5 * sine(0.325, 1, 1000)
    with torch.no_grad():
        filtered = torch.fft.rfft(AntiAliasedSnake(1)(x)[0, 0, 100:900]).abs()
        naive = torch.fft.rfft((x + torch.sin(x) ** 2)[0, 0, 100:900]).abs()
    assert naive[280] > 40
    assert filtered[280] < naive[280] / 4


def test_stored_filters_are_used():
    activation = AntiAliasedSnake(1)
    x = torch.randn(1, 1, 30)
    state = activation.state_dict()
    for name in ("upsample.filter", "downsample.lowpass.filter"):
        changed = {**state, name: state[name] * 1.5}
        other = AntiAliasedSnake(1)
        other.load_state_dict(changed, strict=True)
        with torch.no_grad():
            assert not torch.allclose(other(x), activation(x))


@pytest.mark.parametrize("ratio", [2, 3])
def test_resampling_keeps_samples_in_place(ratio):
    narrow = sine(440, 16000, 1600)
    wide = sinc_upsample(narrow, ratio)
    assert wide.shape[-1] == ratio * 1600
    expected = sine(440, 16000 * ratio, ratio * 1600)
    torch.testing.assert_close(wide[..., 60:-60], expected[..., 60:-60], rtol=0, atol=3e-3)


def test_resampling_goes_on_beyond_the_ends():
    torch.testing.assert_close(sinc_upsample(torch.ones(1, 2, 3), 3), torch.ones(1, 2, 9), rtol=0, atol=3e-3)


GENERATOR = GeneratorParams(64, 8, (240,), (240,), (3,), ((1,),), False, None)
EXTENSION = BandwidthExtensionParams(GENERATOR, 16000, 48000, hop_length=80, n_fft=512, mel_bins=64)


def test_stft_equals_torch_with_nominal_bases(rng):
    waveform = torch.randn(2, 1600, generator=rng)
    padded = F.pad(waveform, (432, 0))
    expected = torch.stft(padded, 512, 80, window=torch.hann_window(512), center=False, return_complex=True).abs()
    result = STFT(512, 80)(waveform)
    assert result.shape == (2, 257, 20)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_stft_is_causal(rng):
    waveform = torch.randn(1, 800, generator=rng)
    other = waveform.clone()
    other[:, 400:] += 1
    difference = (STFT(512, 80)(waveform) - STFT(512, 80)(other)).abs().amax(dim=(0, 1))
    assert (difference[:5] == 0).all() and (difference[5:] > 0).all()


def test_stored_bases_are_used(rng):
    mel = MelSTFT(EXTENSION)
    waveform = torch.randn(1, 2, 800, generator=rng)
    state = mel.state_dict()
    assert set(state) == {"mel_basis", "stft_fn.forward_basis", "stft_fn.inverse_basis"}
    for name in ("mel_basis", "stft_fn.forward_basis"):
        other = MelSTFT(EXTENSION)
        other.load_state_dict({**state, name: 2 * state[name]}, strict=True)
        torch.testing.assert_close(other(waveform) - mel(waveform), torch.full((1, 2, 10, 64), math.log(2.0)))


def test_gradient_in_silence_is_finite():
    waveform = torch.zeros(1, 2, 160, requires_grad=True)
    MelSTFT(EXTENSION)(waveform).sum().backward()
    assert torch.isfinite(waveform.grad).all()
