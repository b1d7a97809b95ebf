"""What thumbnails are drawn with: a card with its title, and the drawn photographs that stand for films."""

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from .. import photo as drawn

SIZE = (720, 540)
ACCENT, TEXT, FAINT, EDGE, BOX = (255, 178, 107), (246, 246, 250), (205, 200, 198), (20, 20, 30), (38, 44, 62)
FRAME = (324, 216)
LAKE = 7  # its seed


class Card:
    def __init__(self, title: str, line: str):
        self.image = background()
        self.draw = ImageDraw.Draw(self.image)
        self.text((32, 24), title, 40, TEXT, bold=True)
        self.text((32, 76), line, 20, FAINT)

    def text(self, pos, text: str, size: int, colour=FAINT, bold: bool = False, anchor: str = "la") -> None:
        font = ImageFont.load_default(size)
        self.draw.text(pos, text, colour, font, anchor, stroke_width=1 if bold else 0, stroke_fill=colour)

    def picture(self, pos: tuple[int, int], picture: Image.Image) -> None:
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), 10, fill=255)
        x, y = pos
        box = (x - 3, y - 3, x + picture.width + 2, y + picture.height + 2)
        self.draw.rounded_rectangle(box, 12, fill=EDGE)
        self.image.paste(picture, pos, mask)

    def film(self, pos: tuple[int, int], picture: Image.Image) -> None:
        """A stack of three frames."""
        for step in range(3):
            self.picture((pos[0] + 26 * step, pos[1] + 26 * step), picture)

    def sound(self, pos: tuple[int, int], width: int) -> None:
        x, y = pos
        for step in range(width // 6):
            height = 8 + 22 * abs(np.sin(step * 0.37) * np.cos(step * 0.11)) + 6 * (step * 7 % 5) / 5
            left = x + 6 * step
            self.draw.rectangle((left, y - height, left + 2, y + height), fill=ACCENT)

    def strip(self, y: int, frames: str, old: Image.Image, new: Image.Image) -> None:
        """A strip of stills: O an old one, N a new one."""
        for number, kind in enumerate(frames):
            self.picture((34 + 82 * number, y), old if kind == "O" else new)

    def window(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        self.draw.rounded_rectangle((*start, *end), 12, outline=ACCENT, width=4)

    def arrow(self, start: tuple[int, int], length: int) -> None:
        x, y = start
        self.draw.rectangle((x, y - 3, x + length - 18, y + 2), fill=ACCENT)
        self.draw.polygon([(x + length - 20, y - 13), (x + length, y), (x + length - 20, y + 12)], fill=ACCENT)

    def box(self, area: tuple[int, int, int, int], lines: list[str], size: int = 20) -> None:
        self.draw.rounded_rectangle(area, 12, fill=BOX, outline=ACCENT, width=2)
        middle, top = (area[0] + area[2]) // 2, (area[1] + area[3]) // 2 - (len(lines) - 1) * (size + 6) // 2
        for number, line in enumerate(lines):
            self.text((middle, top + number * (size + 6)), line, size, TEXT, anchor="mm")

    def bars(self, pos: tuple[int, int], count: int, colour) -> None:
        for step in range(count):
            left = pos[0] + 26 * step
            self.draw.rounded_rectangle((left, pos[1], left + 18, pos[1] + 54), 5, fill=colour)


@lru_cache
def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        path = drawn.draw(Path(folder) / "photo.png", 2 * size[0], 2 * size[1], seed)
        return Image.open(path).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def night(picture: Image.Image) -> Image.Image:
    """The picture from the other side, in the blue of a late hour."""
    return Image.blend(ImageOps.mirror(picture), Image.new("RGB", picture.size, (18, 30, 90)), 0.55)


def with_boat(picture: Image.Image) -> Image.Image:
    """The picture with a sailing boat on its lake."""
    picture = picture.copy()
    pen = ImageDraw.Draw(picture)
    pen.polygon([(120, 66), (120, 112), (150, 112)], fill=TEXT)
    pen.polygon([(116, 76), (116, 112), (96, 112)], fill=FAINT)
    pen.polygon([(88, 116), (156, 116), (146, 128), (98, 128)], fill=EDGE)
    return picture


def background() -> Image.Image:
    dusk = photo(LAKE, FRAME).resize(SIZE).filter(ImageFilter.GaussianBlur(60))
    return Image.blend(Image.new("RGB", SIZE, (12, 14, 24)), dusk, 0.22)
