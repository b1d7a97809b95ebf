"""Draws sound, time from left to right: its spectrogram, low tones at the bottom, and below that its waveform."""

import numpy as np
from PIL import Image, ImageDraw

LOWEST, HIGHEST = 100.0, 10_000.0  # Hz at the bottom and at the top, evenly spaced by octaves
MARKS = {200: "200 Hz", 1000: "1 kHz", 5000: "5 kHz"}
WINDOW = 2048  # samples
QUIET, LOUD = -80.0, -12.0  # dB of full scale: black, and the brightest
WAVE_SHARE = 0.25  # of the height
FAINTEST = 0.1  # full scale 1: a waveform whose peak is lower is not drawn at full height
SHADES = np.array([(12, 10, 28), (74, 22, 92), (196, 62, 76), (250, 160, 60), (252, 246, 190)], dtype=float)


def draw(sound: np.ndarray, sample_rate: int, width: int, height: int) -> Image.Image:
    """A picture of (channels, samples), full scale 1."""
    mono = sound.mean(axis=0)
    below = round(height * WAVE_SHARE)
    picture = Image.new("RGB", (width, height))
    picture.paste(spectrogram(mono, sample_rate, width, height - below), (0, 0))
    picture.paste(waveform(mono, width, below), (0, height - below))
    return picture


def spectrogram(mono: np.ndarray, sample_rate: int, width: int, height: int) -> Image.Image:
    """Louder is brighter."""
    level = _levels(mono, sample_rate, width, height)
    brightness = np.clip((level - QUIET) / (LOUD - QUIET), 0, 1)
    anchors = np.linspace(0, 1, len(SHADES))
    pixels = np.stack([np.interp(brightness, anchors, shade) for shade in SHADES.T], axis=-1)
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    marks = ImageDraw.Draw(picture)
    for frequency, name in MARKS.items():
        y = round((height - 1) * (1 - np.log(frequency / LOWEST) / np.log(HIGHEST / LOWEST)))
        marks.line([(0, y), (6, y)], fill="white")
        marks.text((10, y), name, fill="white", anchor="lm", stroke_width=1, stroke_fill="black")
    return picture


def waveform(mono: np.ndarray, width: int, height: int) -> Image.Image:
    """As high as its loudest sample."""
    picture = Image.new("RGB", (width, height), "#24202c")
    pen = ImageDraw.Draw(picture)
    middle, reach = (height - 1) / 2, height / 2 - 2
    scale = reach / max(FAINTEST, float(np.abs(mono).max()))
    for x, part in enumerate(np.array_split(mono, width)):
        pen.line([(x, middle - scale * part.max()), (x, middle - scale * part.min())], fill="#faa03c")
    return picture


def _levels(mono: np.ndarray, sample_rate: int, columns: int, rows: int) -> np.ndarray:
    """dB (rows, columns), high tones first; a sine of full scale has 0."""
    centres = np.linspace(0, len(mono), columns, endpoint=False).astype(int)
    around = np.pad(mono, WINDOW // 2)
    window = np.hanning(WINDOW)
    spectrum = np.abs(np.fft.rfft(np.stack([around[c : c + WINDOW] for c in centres]) * window)) / (window.sum() / 2)
    level = 20 * np.log10(spectrum + 1e-6)
    frequencies = np.geomspace(HIGHEST, LOWEST, rows)
    bins = frequencies * WINDOW / sample_rate
    return np.stack([np.interp(bins, np.arange(level.shape[1]), column) for column in level], axis=1)
