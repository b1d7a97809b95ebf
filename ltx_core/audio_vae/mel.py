"""Waveform -> log-mel spectrogram, the audio encoder's input.

Same arithmetic as the vendor's AudioProcessor (torchaudio's MelSpectrogram and resample with default settings), in
plain PyTorch and NumPy.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import GeometryError
from .params import AudioVAEParams

LOG_FLOOR = 1e-5

# Slaney's mel scale: linear up to 1 kHz (200/3 Hz a mel), then 27 logarithmic steps for each factor of 6.4.
_LINEAR_STEP = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_STEP
_LOG_STEP = math.log(6.4) / 27

# Windowed-sinc resampling: zero crossings on each side, and how far below the lower Nyquist frequency the cut-off lies.
_RESAMPLE_ZEROS = 6
_RESAMPLE_ROLLOFF = 0.99


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_STEP if hz < _BREAK_HZ else _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_STEP, _BREAK_HZ * np.exp((mel - _BREAK_MEL) * _LOG_STEP))


@lru_cache(maxsize=8)
def _filterbank(sampling_rate: int, n_fft: int, mel_bins: int) -> np.ndarray:
    frequencies = np.linspace(0.0, sampling_rate / 2, n_fft // 2 + 1)
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sampling_rate / 2), mel_bins + 2))
    widths = np.diff(corners)
    rising = (frequencies[None] - corners[:-2, None]) / widths[:-1, None]
    falling = (corners[2:, None] - frequencies[None]) / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    # Slaney's norm: every band has the same area, so white noise gives a flat spectrum.
    return (triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)


def mel_filterbank(sampling_rate: int = 16000, n_fft: int = 1024, mel_bins: int = 64) -> Tensor:
    """Triangular mel bands from 0 Hz to half the sampling rate, (mel_bins, n_fft/2 + 1) float32."""
    return torch.tensor(_filterbank(sampling_rate, n_fft, mel_bins))


def log_mel(
    waveform: Tensor, *, sampling_rate: int = 16000, n_fft: int = 1024, hop_length: int = 160, mel_bins: int = 64
) -> Tensor:
    """Natural logarithm of the mel magnitudes: (B, C, N) float32 at `sampling_rate` -> (B, C, 1 + N // hop, mel_bins).

    Frames are centred and the signal is mirrored at both ends, hence at least n_fft/2 + 1 samples are needed
    (GeometryError).  Magnitudes below 1e-5 count as 1e-5.
    """
    samples = waveform.shape[-1]
    if samples <= n_fft // 2:
        raise GeometryError(
            f"The sound has {samples} samples at {sampling_rate} Hz; the audio encoder needs at least "
            f"{n_fft // 2 + 1}. Use a longer sound."
        )
    window = torch.hann_window(n_fft, periodic=True, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(
        waveform.flatten(0, 1), n_fft, hop_length, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    bands = mel_filterbank(sampling_rate, n_fft, mel_bins).to(waveform) @ spectrum.abs()
    return torch.log(bands.clamp_min(LOG_FLOOR)).unflatten(0, waveform.shape[:2]).transpose(2, 3).contiguous()


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Changes the sampling rate: (..., N) float32 -> (..., ceil(N * target_rate / source_rate)).

    Hann-windowed sinc interpolation, six zero crossings to each side, cut off at 0.99 of the lower Nyquist frequency,
    silence outside the signal: what torchaudio.functional.resample does by default.
    """
    if source_rate == target_rate:
        return waveform
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    cutoff = min(source, target) * _RESAMPLE_ROLLOFF
    reach = math.ceil(_RESAMPLE_ZEROS * source / cutoff)
    samples = waveform.shape[-1]
    length = -(-samples * target // source)

    # Output n lies at input position n * source / target.  Its fraction, and with it the taps, repeats every `target`
    # outputs; only `2 * reach + 1` inputs around it count.
    numerator = np.arange(target, dtype=np.int64) * source
    offsets = np.arange(-reach, reach + 1)
    distance = (offsets[None] - (numerator % target)[:, None] / target) * (cutoff / source)
    inside = np.clip(distance, -_RESAMPLE_ZEROS, _RESAMPLE_ZEROS)
    taps = np.sinc(distance) * np.cos(inside * np.pi / _RESAMPLE_ZEROS / 2) ** 2 * (cutoff / source)
    taps = torch.tensor(taps, dtype=waveform.dtype, device=waveform.device)

    periods = -(-length // target)
    padded = F.pad(waveform, (reach, periods * source + reach + 1 - samples))
    first = torch.tensor(numerator // target, device=waveform.device)
    first = torch.arange(periods, device=waveform.device)[:, None] * source + first
    resampled = sum(padded[..., first + k] * taps[:, k] for k in range(2 * reach + 1))
    return resampled.flatten(-2)[..., :length]


def waveform_to_mel(waveform: Tensor, sampling_rate: int, params: AudioVAEParams) -> Tensor:
    """(B, 1 or 2, N) float32 in [-1, 1] at any rate -> the encoder's input (B, 2, T, mel_bins) float32.

    One channel is used for both sides.  Raises GeometryError for more channels than the model has.
    """
    if waveform.ndim != 3 or waveform.shape[1] not in (1, params.in_channels):
        raise GeometryError(
            f"The sound has shape {tuple(waveform.shape)}; expected (batch, channels, samples) with 1 or "
            f"{params.in_channels} channels. Mix it down to stereo first."
        )
    waveform = resample(waveform.float(), sampling_rate, params.sampling_rate)
    return log_mel(
        waveform.expand(-1, params.in_channels, -1),
        sampling_rate=params.sampling_rate,
        n_fft=params.n_fft,
        hop_length=params.hop_length,
        mel_bins=params.mel_bins,
    )
