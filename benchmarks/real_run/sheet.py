"""The picture of one take: frames of both sides, what is between them, and their sounds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...scripts.demo import sound_picture
from .made import FRAMES, SOUND

COLUMNS, WIDTH, SOUND_WIDTH, GAP, LABEL = 6, 240, 300, 4, 26
AMPLIFIED = 8
PAPER, INK = "#ffffff", "#1c1c28"


def draw(target: Path, sides: Mapping[str, Mapping[str, Tensor]], rates: Mapping[str, int]) -> None:
    """Writes a JPEG with a row for each side, and with two of them a row of their difference."""
    films = {side: made[FRAMES] for side, made in sides.items()}
    numbers = _numbers(len(next(iter(films.values()))))
    rows = {side: [film[number] for number in numbers] for side, film in films.items()}
    if len(films) == 2:
        rows[f"difference x {AMPLIFIED}"] = [_difference(*pair) for pair in zip(*rows.values(), strict=True)]
    _, height, width, _ = next(iter(films.values())).shape
    size = WIDTH, round(WIDTH * height / width)
    row_height = size[1] + LABEL
    sheet = Image.new("RGB", (len(numbers) * (WIDTH + GAP) + SOUND_WIDTH + GAP, len(rows) * row_height + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (label, pictures) in enumerate(rows.items()):
        y = row * row_height
        pen.text((GAP, y + LABEL // 2), label, INK, font, "lm")
        for column, (number, picture) in enumerate(zip(numbers, pictures, strict=True)):
            x = GAP + column * (WIDTH + GAP)
            frame = Image.fromarray(picture.numpy()).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(frame, (x, y + LABEL))
            pen.text((x + WIDTH, y + LABEL // 2), f"frame {number}", INK, font, "rm")
        if label in sides:
            sound = np.asarray(sides[label][SOUND])
            sheet.paste(
                sound_picture.draw(sound, rates[label], SOUND_WIDTH - GAP, size[1]),
                (sheet.width - SOUND_WIDTH, y + LABEL),
            )
    sheet.save(target, quality=88)


def _numbers(frames: int) -> list[int]:
    """Spread evenly from the first to the last."""
    count = min(COLUMNS, frames)
    return [round(index * (frames - 1) / max(1, count - 1)) for index in range(count)]


def _difference(one: Tensor, other: Tensor) -> Tensor:
    return ((one.int() - other.int()).abs() * AMPLIFIED).clamp(max=255).to(torch.uint8)
