"""Six prompts for the small trained model, and two pictures of what it made of them: one moves, one shows the sound."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import media, sound_picture
from .server import PACK

BLUE_SQUARE = PACK / "demo_model" / "blue-square.png"
FRAMES = 6
FRAME, SOUND_WIDTH = 168, 300  # pixels
GAP, CAPTION = 4, 34
PAPER, INK, FAINT = "#ffffff", "#1c1c28", "#6a6a78"
JPEG_QUALITY = 88
ACROSS, CELL = 3, 256  # moving films beside each other, and pixels of each
LINE, WORDS = 38, 56  # characters in a line beneath a moving film, and pixels for all lines
WEBP_QUALITY = 75


@dataclass(frozen=True)
class Exhibit:
    """One film of the gallery; `name` is its file's."""

    name: str
    prompt: str
    image: Path | None = None


EXHIBITS = (
    Exhibit("moving", "a red star moving to the left, high tone"),
    Exhibit("from-an-image", "a blue square moving to the right, medium tone", BLUE_SQUARE),
    Exhibit("bouncing", "a yellow circle falling and bouncing, a low tone and a click at each bounce"),
    Exhibit("growing", "A small purple triangle grows, a high tone getting louder."),
    Exhibit("rotating", "On a plain grey background, a large green square spinning around its centre"),
    Exhibit("still", "a white circle standing still on a vertical gradient, silence"),
)


def draw(films: list[tuple[Exhibit, Path]], target: Path) -> Path:
    """A row for each film: frames spread evenly from the first to the last, its sound, and its prompt below."""
    font = ImageFont.load_default(18)
    width = FRAMES * (FRAME + GAP) + GAP + SOUND_WIDTH
    picture = Image.new("RGB", (width, len(films) * (FRAME + CAPTION) + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    for row, (exhibit, path) in enumerate(films):
        y = GAP + row * (FRAME + CAPTION)
        frames = media.read_frames(path)
        for column in range(FRAMES):
            frame = frames[round(column * (len(frames) - 1) / (FRAMES - 1))]
            picture.paste(frame.resize((FRAME, FRAME), Image.Resampling.LANCZOS), (GAP + column * (FRAME + GAP), y))
        sound = sound_picture.draw(*media.read_sound(path), SOUND_WIDTH - GAP, FRAME)
        picture.paste(sound, (width - SOUND_WIDTH, y))
        origin = "from an image and " if exhibit.image else ""
        pen.text((2 * GAP, y + FRAME + CAPTION // 2 - 2), origin, FAINT, font, "lm")
        pen.text(
            (2 * GAP + font.getlength(origin), y + FRAME + CAPTION // 2 - 2), f"“{exhibit.prompt}”", INK, font, "lm"
        )
    picture.save(target, quality=JPEG_QUALITY)
    return target


def draw_moving(films: list[tuple[Exhibit, Path]], target: Path) -> Path:
    """All films running side by side, each above its prompt: an animated picture that begins again at the end."""
    font = ImageFont.load_default(13)
    rows = -(-len(films) // ACROSS)
    page = Image.new("RGB", (ACROSS * (CELL + GAP) + GAP, rows * (CELL + WORDS) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    places = [
        (GAP + number % ACROSS * (CELL + GAP), GAP + number // ACROSS * (CELL + WORDS)) for number in range(len(films))
    ]
    for (exhibit, _), (x, y) in zip(films, places, strict=True):
        pen.multiline_text((x, y + CELL + GAP), textwrap.fill(exhibit.prompt, LINE), INK, font, spacing=1)
    all_frames = [media.read_frames(path) for _, path in films]
    moments = []
    for number in range(max(map(len, all_frames))):
        moment = page.copy()
        for frames, place in zip(all_frames, places, strict=True):
            frame = frames[min(number, len(frames) - 1)]
            moment.paste(frame.resize((CELL, CELL), Image.Resampling.LANCZOS), place)
        moments.append(moment)
    duration = round(1000 / media.probe(films[0][1]).fps)
    moments[0].save(
        target, save_all=True, append_images=moments[1:], duration=duration, loop=0, quality=WEBP_QUALITY, method=6
    )
    return target
