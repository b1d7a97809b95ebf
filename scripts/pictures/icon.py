"""Draws docs/icon.png, the registry's icon: a small frame, the same frame twice as large, and their sound."""

import math
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, SCALE = 256, 4
GROUND, SMALL, LARGE, SOUND = "#1d1a2b", "#8f7bd8", "#f2a65a", "#5ec4b6"
BARS = 13


def frame(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    """A picture frame with a play triangle."""
    left, top, right, bottom = (side * SCALE for side in box)
    draw.rounded_rectangle((left, top, right, bottom), radius=12 * SCALE, fill=colour)
    x, y, r = (left + right) / 2, (top + bottom) / 2, (bottom - top) / 4
    draw.polygon([(x - r * 0.7, y - r), (x - r * 0.7, y + r), (x + r, y)], fill=GROUND)


def draw_icon(target: Path) -> None:
    image = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, SIZE * SCALE - 1, SIZE * SCALE - 1), radius=48 * SCALE, fill=GROUND)
    frame(draw, (26, 88, 90, 136), SMALL)
    frame(draw, (102, 40, 230, 136), LARGE)
    for bar in range(BARS):
        middle, height = 34 + bar * 15.6, 10 + 22 * abs(math.sin(bar * 0.9) * math.sin(bar * 0.31 + 0.5))
        box = [(middle - 4) * SCALE, (190 - height) * SCALE, (middle + 4) * SCALE, (190 + height) * SCALE]
        draw.rounded_rectangle(box, radius=4 * SCALE, fill=SOUND)
    image.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(target, optimize=True)


if __name__ == "__main__":
    draw_icon(Path(__file__).resolve().parents[2] / "docs" / "icon.png")
