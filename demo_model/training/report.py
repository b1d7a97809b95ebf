"""What the training shows: loss curves, sample sheets, measurements."""

import json
import math
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

INK = (0x22, 0x22, 0x22)
LINES = ((0x1B, 0x6C, 0xA8), (0xC2, 0x3B, 0x22), (0x2E, 0x8B, 0x57), (0x8A, 0x4F, 0xBF), (0xD1, 0x8F, 0x1B))
MARGIN = 16


def save_numbers(out: Path, piece: str, numbers: dict) -> None:
    """Measurements of a finished piece, to `<piece>.json` and the terminal."""
    (out / f"{piece}.json").write_text(json.dumps(numbers, indent=2) + "\n")
    sys.stdout.write(f"{piece} {json.dumps(numbers)}\n")
    sys.stdout.flush()


def loss_curve(path: Path, title: str, history: dict[str, list[float]], size: tuple[int, int] = (640, 360)) -> None:
    """Draws the loss terms over the steps, on a logarithmic scale; `history` is the training loop's."""
    width, height = size
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    terms = [name for name in history if name != "step"]
    levels = [math.log10(max(value, 1e-6)) for name in terms for value in history[name]]
    low, high = math.floor(min(levels)), math.ceil(max(levels) + 1e-9)
    left, right, top, bottom = 56, width - MARGIN, 40, height - 32

    def place(step: float, level: float) -> tuple[float, float]:
        across = left + (right - left) * step / history["step"][-1]
        return across, bottom - (bottom - top) * (level - low) / (high - low)

    for decade in range(low, high + 1):
        y = place(0, decade)[1]
        draw.line([(left, y), (right, y)], fill=(0xDD, 0xDD, 0xDD))
        draw.text((8, y - 6), f"1e{decade}", fill=INK)
    draw.text((left, bottom + 8), "step 0", fill=INK)
    draw.text((right - 48, bottom + 8), str(int(history["step"][-1])), fill=INK)
    for number, name in enumerate(terms):
        colour = LINES[number % len(LINES)]
        points = [
            place(step, math.log10(max(value, 1e-6)))
            for step, value in zip(history["step"], history[name], strict=True)
        ]
        draw.line(points, fill=colour, width=2)
        draw.text((left + 110 + 90 * number, 12), name, fill=colour)
    draw.text((left, 12), title, fill=INK)
    picture.save(path)


def film_sheet(path: Path, films: list[tuple[str, Tensor]], columns: int = 6) -> None:
    """A row of frames, evenly chosen, for each film (3, F, H, W) in [-1, 1], under its caption."""
    rows = []
    for text, film in films:
        chosen = torch.linspace(0, film.shape[1] - 1, min(columns, film.shape[1])).round().long()
        frames = (film.detach().float().cpu()[:, chosen].clamp(-1, 1) + 1) * 127.5
        rows.append((text, frames.round().byte().permute(2, 1, 3, 0).flatten(1, 2)))
    width = max(row.shape[1] for _, row in rows)
    picture = Image.new("RGB", (width, sum(row.shape[0] + MARGIN for _, row in rows)), "white")
    draw = ImageDraw.Draw(picture)
    y = 0
    for text, row in rows:
        draw.text((4, y + 2), text, fill=INK)
        picture.paste(Image.fromarray(row.numpy()), (0, y + MARGIN))
        y += row.shape[0] + MARGIN
    picture.save(path)


def mel_sheet(path: Path, mels: list[tuple[str, Tensor]], scale: int = 3) -> None:
    """Spectrograms (T, mel_bins), natural logarithms, one below the other, high tones on top."""
    low, high = -11.5, 3.0
    rows = []
    for text, mel in mels:
        grey = ((mel.detach().float().cpu() - low) / (high - low)).clamp(0, 1).mul(255).byte()
        image = Image.fromarray(grey.T.flip(0).contiguous().numpy())
        rows.append((text, image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)))
    width = max(image.width for _, image in rows)
    picture = Image.new("RGB", (width, sum(image.height + MARGIN for _, image in rows)), "white")
    draw = ImageDraw.Draw(picture)
    y = 0
    for text, image in rows:
        draw.text((4, y + 2), text, fill=INK)
        picture.paste(image.convert("RGB"), (0, y + MARGIN))
        y += image.height + MARGIN
    picture.save(path)
