"""What the bandwidth extension needs around its network: the mel spectrogram of a waveform, and plain resampling."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio_vae.mel import LOG_FLOOR, mel_filterbank
from .activation import constant, upsample_by_filter
from .params import BandwidthExtensionParams

# Windowed-sinc interpolation: 6 zero crossings to each side, cut-off at 0.99 of the old Nyquist frequency.
_ZEROS = 6
_ROLLOFF = 0.99
_WIDTH = 7  # input samples to each side: 6 / 0.99, rounded up

_TINY = 1e-30


@lru_cache(maxsize=4)
def resampling_taps(ratio: int) -> np.ndarray:
    """The interpolation filter for `ratio` output samples per input sample, (2 * 7 * ratio + 1,) float64."""
    time = (np.arange(2 * _WIDTH * ratio + 1) / ratio - _WIDTH) * _ROLLOFF
    window = np.cos(np.clip(time, -_ZEROS, _ZEROS) * np.pi / _ZEROS / 2) ** 2
    return np.sinc(time) * window * _ROLLOFF / ratio


@lru_cache(maxsize=4)
def _taps_on(ratio: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Kept, so that no copy from the host comes between the GPU's kernels; made such that autograd may use it."""
    with torch.inference_mode(False):
        return torch.tensor(resampling_taps(ratio), dtype=dtype, device=device)


def sinc_upsample(waveform: Tensor, ratio: int) -> Tensor:
    """(B, C, N) -> (B, C, ratio * N); beyond the ends the first and last samples go on.  Not stored in checkpoints."""
    taps = _taps_on(ratio, waveform.dtype, waveform.device)
    crop = 2 * _WIDTH * ratio
    return upsample_by_filter(waveform, taps, ratio, _WIDTH, (crop, crop + 1 - ratio))


class STFT(nn.Module):
    """Magnitudes of the short-time Fourier transform, as a convolution with stored, windowed cosines and sines.

    Causal: a frame ends with the newest `hop_length` samples; silence is assumed before the start.
    """

    def __init__(self, n_fft: int, hop_length: int, *, dtype=None, device=None):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        angle = 2 * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        basis = np.concatenate([np.cos(angle), -np.sin(angle)])[:, None] * window
        # Nominal values; files bring their own.  The inverse is in the files too, but nothing here needs it.
        self.register_buffer("forward_basis", constant(basis, dtype, device))
        self.register_buffer("inverse_basis", torch.zeros(basis.shape, dtype=dtype, device=device))

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) -> (B, n_fft/2 + 1, N / hop_length)."""
        padded = F.pad(waveform[:, None], (self.n_fft - self.hop_length, 0))
        spectrum = F.conv1d(padded, self.forward_basis.to(waveform), stride=self.hop_length)
        real, imaginary = spectrum.chunk(2, dim=1)
        # The tiny floor changes no result; it keeps the square root's gradient finite in silence.
        return torch.sqrt((real**2 + imaginary**2).clamp_min(_TINY))


class MelSTFT(nn.Module):
    """Log-mel spectrogram with the file's own bases."""

    def __init__(self, params: BandwidthExtensionParams, *, dtype=None, device=None):
        super().__init__()
        self.stft_fn = STFT(params.n_fft, params.hop_length, dtype=dtype, device=device)
        bands = mel_filterbank(params.input_sampling_rate, params.n_fft, params.mel_bins)
        self.register_buffer("mel_basis", bands.to(dtype=dtype, device=device))

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, C, N) with N a multiple of the hop -> (B, C, N / hop, mel_bins)."""
        magnitude = self.stft_fn(waveform.flatten(0, 1))
        bands = self.mel_basis.to(magnitude) @ magnitude
        return torch.log(bands.clamp_min(LOG_FLOOR)).unflatten(0, waveform.shape[:2]).transpose(2, 3)
