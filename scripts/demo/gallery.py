"""Six prompts for the small trained model, and one picture of what it made of them."""

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
