"""What is heard in a clip."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from ..world.tones import PITCHES

HOP = 0.01  # seconds between two values of loudness
WINDOW = 0.04  # seconds that a value of loudness covers
SILENCE = 0.01  # root mean square, full scale 1
LOWEST, HIGHEST = 150.0, 1000.0  # Hz: where a pitch is looked for
TONAL = 0.4  # the least share of the energy there that lies around the peak
NEAR = 1.15  # ratio of a heard pitch to the one it stands for; neighbours are 1.5 apart
CLICK_BAND = 2000.0, 7000.0  # Hz: above every tone, below what a 16 kHz spectrogram can carry
CLICK_WINDOW, CLICK_HOP = 0.01, 0.0025  # seconds
CLICK_RISE = 8.0  # energy of a click to the median of the clip
CLICK_FAINTEST = 0.005  # root mean square in the band
CLICKS_APART = 0.08  # seconds


@dataclass(frozen=True)
class Heard:
    """pitch in Hz and the shape that has it; None for silence, noise, or a pitch between the shapes'."""

    pitch: float | None
    shape: str | None
    loudness: Tensor  # (T,): root mean square of both channels, full scale 1, a value each HOP seconds
    clicks: list[float]  # seconds after the start


def heard(waveform: Tensor, sample_rate: int) -> Heard:
    """What a clip's sound (2, samples), float, full scale 1, is like."""
    waveform = waveform.float()
    pitch = _pitch(waveform.mean(dim=0), sample_rate)
    return Heard(pitch, _shape(pitch), _loudness(waveform, sample_rate), _clicks(waveform, sample_rate))


def _pitch(mono: Tensor, sample_rate: int) -> float | None:
    if mono.square().mean().sqrt() < SILENCE:
        return None
    size = 2 * len(mono)
    power = torch.fft.rfft(mono * torch.hann_window(len(mono), device=mono.device), size).abs().square()
    first, last = (int(edge * size / sample_rate) for edge in (LOWEST, HIGHEST))
    peak = first + int(power[first:last].argmax())
    around = power[int(peak / 1.06) : int(peak * 1.06) + 1].sum()
    if around < TONAL * power[first:last].sum():
        return None
    return peak * sample_rate / size


def _shape(pitch: float | None) -> str | None:
    if pitch is None:
        return None
    shape = min(PITCHES, key=lambda name: abs(log(pitch / PITCHES[name])))
    return shape if abs(log(pitch / PITCHES[shape])) < log(NEAR) else None


def _loudness(waveform: Tensor, sample_rate: int) -> Tensor:
    hop, window = round(HOP * sample_rate), round(WINDOW * sample_rate)
    return waveform.unfold(1, window, hop).square().mean(dim=(0, 2)).sqrt()


def _clicks(waveform: Tensor, sample_rate: int) -> list[float]:
    """Where the energy between 2 and 7 kHz stands out: the first moment of each burst at half its height."""
    hop, window = round(CLICK_HOP * sample_rate), round(CLICK_WINDOW * sample_rate)
    pieces = waveform.unfold(1, window, hop) * torch.hann_window(window, device=waveform.device)
    power = torch.fft.rfft(pieces, dim=-1).abs().square().mean(dim=0)
    first, last = (round(edge * window / sample_rate) for edge in CLICK_BAND)
    energy = power[:, first:last].sum(dim=-1) * 2 / window**2
    bar = torch.maximum(energy.median() * CLICK_RISE, torch.tensor(CLICK_FAINTEST**2, device=energy.device))
    bar = max(float(bar), float(energy.max()) / 20)
    times = []
    apart = round(CLICKS_APART / CLICK_HOP)
    values = energy.tolist()
    piece = 0
    while piece < len(values):
        if values[piece] <= bar:
            piece += 1
            continue
        burst = values[piece : piece + apart]
        onset = next(number for number, value in enumerate(burst) if value > max(burst) / 2)
        times.append((piece + onset) * CLICK_HOP + CLICK_WINDOW / 2)
        piece += apart
    return times
