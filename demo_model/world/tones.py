"""The sound of a scene: a tone whose pitch tells the shape, as loud as it is large, a click at each bounce."""

from math import pi

import torch
from torch import Tensor

from .motion import bounce_times, track
from .scenes import FPS, FRAMES, Scene

# Hz.  Multiples of the 100 spectrogram frames a second: where every frame is like the last one, a vocoder, which is a
# chain of convolutions, can only repeat itself every frame.
PITCHES = {"circle": 200.0, "square": 300.0, "triangle": 500.0, "star": 800.0}
LOUDNESS = 2.0  # amplitude of the tone, for each picture height of radius
ATTACK, RELEASE = 0.06, 0.03  # seconds
PAN = pi / 4  # radians of the circle of equal power, over the picture's width
CLICK = 0.8  # amplitude
CLICK_DECAY, CLICK_LENGTH = 0.008, 0.04  # seconds
# Hz: a knock, as of wood; a burst of noise is hundreds of unrelated samples that a small vocoder has to learn by heart.
# Multiples of the 1000 steps a second between the vocoder's two upsamplings, for the reason that the tones' are of 100.
CLICK_PITCHES = (3000.0, 4000.0, 5000.0, 6000.0)
CLICK_STARTS = 100  # a second: clicks begin with a frame of the spectrogram, so that all look alike there


def sound(
    scenes: list[Scene], frames: int = FRAMES, fps: float = FPS, sample_rate: int = 48000, device="cpu"
) -> Tensor:
    """(B, 2, samples) float32 in [-1, 1], as long as `frames` frames at `fps`; it keeps with the frames at any fps."""
    samples = round(frames / fps * sample_rate)
    seconds = torch.arange(samples, device=device) / sample_rate
    path = track(scenes, seconds * (fps / FPS))
    moves = torch.tensor([float(scene.motion != "still") for scene in scenes], device=device)[:, None]
    pitch = torch.tensor([PITCHES[scene.shape] for scene in scenes], device=device)[:, None]
    envelope = (seconds / ATTACK).clamp(max=1) * ((frames / fps - seconds) / RELEASE).clamp(max=1)
    tone = LOUDNESS * moves * path.radius * envelope * torch.sin(2 * pi * pitch * seconds)
    mono = tone + _clicks(scenes, FPS / fps, samples, sample_rate, device)
    side = pi / 4 + (path.x - 0.5) * PAN
    return torch.stack((mono * side.cos(), mono * side.sin()), dim=1)


def _clicks(scenes: list[Scene], stretch: float, samples: int, sample_rate: int, device) -> Tensor:
    """(B, samples): the same short knock at each bounce."""
    length = int(CLICK_LENGTH * sample_rate)
    seconds = torch.arange(length) / sample_rate
    ringing = torch.sin(2 * pi * torch.tensor(CLICK_PITCHES)[:, None] * seconds).mean(dim=0)
    burst = CLICK * ringing * torch.exp(-seconds / CLICK_DECAY)
    starts = [
        (number, round(round(time * stretch * CLICK_STARTS) / CLICK_STARTS * sample_rate))
        for number, scene in enumerate(scenes)
        for time in bounce_times(scene)
    ]
    clicks = torch.zeros(len(scenes), samples + length, device=device)
    if not starts:
        return clicks[:, :samples]
    rows, first = torch.tensor(starts, device=device).T
    kept = first < samples  # a shorter clip ends before its bounces
    columns = first[kept, None] + torch.arange(length, device=device)
    clicks[rows[kept, None], columns] = burst.to(device)
    return clicks[:, :samples]
