"""Losses that several pieces share, all scalars."""

import torch
from torch import Tensor

SPECTRUM_FLOOR = 1e-3  # amplitude below which a spectrum's level does not count: -60 dB


def moment_penalty(latent: Tensor, dims: tuple[int, ...]) -> Tensor:
    """How far the values' mean and variance over `dims` are from 0 and 1: Gaussians' Kullback-Leibler divergence."""
    latent = latent.float()
    variance, mean = torch.var_mean(latent, dims, correction=0)
    variance = variance + 1e-6
    return 0.5 * (mean.square() + variance - 1 - variance.log()).mean()


def edge_loss(error: Tensor) -> Tensor:
    """How far the differences of neighbouring errors (..., H, W) are from zero, where edges are as sharp as wanted."""
    across = error[..., 1:] - error[..., :-1]
    down = error[..., 1:, :] - error[..., :-1, :]
    return sum(steps.abs().mean() + 0.5 * steps.square().mean() for steps in (across, down))


def spectral_loss(waveform: Tensor, target: Tensor, windows: tuple[int, ...]) -> Tensor:
    """Difference of the magnitude spectra of (B, C, N) at several window lengths: of their levels, and of themselves.

    Magnitudes are such that a sine's peak is its amplitude.  The levels' part is a mean over frequencies, the other a
    sum.
    """
    total = waveform.new_zeros(())
    for length in windows:
        found, wanted = (_magnitude(x.flatten(0, 1), length) for x in (waveform, target))
        levels = (found + SPECTRUM_FLOOR).log() - (wanted + SPECTRUM_FLOOR).log()
        total = total + 0.2 * levels.abs().mean() + (found - wanted).abs().sum(dim=1).mean()
    return total / len(windows)


def _magnitude(waveform: Tensor, length: int) -> Tensor:
    window = torch.hann_window(length, device=waveform.device)
    spectrum = torch.stft(waveform, length, length // 4, window=window, return_complex=True)
    # The square root's slope at zero is infinite.
    return (torch.view_as_real(spectrum).square().sum(dim=-1) + 1e-12).sqrt() * (4 / length)


def psnr(pictures: Tensor, target: Tensor) -> Tensor:
    """Decibels (B,) of pictures (B, ...) in [-1, 1]."""
    error = (pictures.float().clamp(-1, 1) - target.float()).square().flatten(1).mean(dim=1) / 4
    return -10 * error.log10()
