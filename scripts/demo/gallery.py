"""Prompts for the small trained model, and pictures of what it made of them: one moves, one shows the sound, and one
beside it what was given."""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import media, sound_picture
from .server import PACK

BLUE_SQUARE = PACK / "demo_model" / "blue-square.png"
GIVEN_FILES = PACK / "demo_model" / "given"
OUTLINE_LORA = PACK / "demo_model" / "files" / "loras" / "ltx-2.3-demo-ic-lora-outline.safetensors"
FRAMES = 6
FRAME, SOUND_WIDTH = 168, 300  # pixels
SMALL_FRAME, SMALL_SOUND = 128, 240
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


@dataclass(frozen=True)
class GivenExhibit:
    """One film of the gallery that is made to a sound or a film; `files` and `values` by node type and input.

    `shown`: what was given, of `files`; `note`: what is done with it; `lora`: in place of the distilled one.
    """

    name: str
    note: str
    prompt: str
    shown: Path
    files: dict[str, dict[str, Path]]
    values: dict[str, dict] = field(default_factory=dict)
    workflow: str = ""
    seed: int = 10
    lora: Path | None = None


def _of_film(name: str, note: str, prompt: str, film: str, seed: int = 10, image: str = "", **values) -> GivenExhibit:
    files = {"LoadVideo": {"file": GIVEN_FILES / film}}
    if image:
        files["LoadImage"] = {"image": GIVEN_FILES / image}
    return GivenExhibit(name, note, prompt, GIVEN_FILES / film, files, values, name, seed)


GIVEN = (
    GivenExhibit(
        "sound-given",
        "sound-to-video: the sound is given, which says when it bounces.",
        "an orange circle bouncing",
        GIVEN_FILES / "bounces.flac",
        {"LoadAudio": {"audio": GIVEN_FILES / "bounces.flac"}},
        workflow="sound-to-video",
    ),
    _of_film(
        "film-sound",
        "film-sound: a silent film is given.",
        "an orange circle bouncing, a low tone and a click at each bounce",
        "silent-ball.mp4",
    ),
    _of_film(
        "retake",
        "retake: 0.4 to 1 s of a film are made anew.",
        "a red star moving to the left, high tone",
        "star-turns-blue.mp4",
        LTXDuoRetake={"start": 0.4, "end": 1.0},
    ),
    _of_film(
        "extend",
        "extend: 16 frames are added to 17, and 0.2 s before them made anew.",
        "a blue square moving to the right, medium tone",
        "square-begins.mp4",
        LTXDuoExtend={"after": 0.66, "overlap": 0.2},
    ),
    _of_film(
        "region",
        "region: a painted strip is made anew; sound and edges stay.",
        "On a plain grey background, a blue star moving to the left, high tone",
        "star.mp4",
        seed=1,
        image="painted.png",
        LTXDuoStageTwoSampler={"clean_background": False},
    ),
    GivenExhibit(
        "reference",
        "reference-edit: an IC-LoRA reads a film of outlines; its sound is kept.",
        "an orange triangle",
        GIVEN_FILES / "outline.mp4",
        {"LoadVideo": {"file": GIVEN_FILES / "outline.mp4"}},
        {"LTXDuoModelLoader": {"kind": "distilled"}, "LTXDuoLoraLoader": {"lora": OUTLINE_LORA.name}},
        workflow="reference-edit",
        lora=OUTLINE_LORA,
    ),
)


def draw(films: list[tuple[Exhibit, Path]], target: Path) -> Path:
    """A row for each film: frames spread evenly from the first to the last, its sound, and its prompt below."""
    font = ImageFont.load_default(18)
    width = FRAMES * (FRAME + GAP) + GAP + SOUND_WIDTH
    picture = Image.new("RGB", (width, len(films) * (FRAME + CAPTION) + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    for row, (exhibit, path) in enumerate(films):
        y = GAP + row * (FRAME + CAPTION)
        _strip(picture, y, path, FRAME, SOUND_WIDTH)
        origin = "from an image and " if exhibit.image else ""
        pen.text((2 * GAP, y + FRAME + CAPTION // 2 - 2), origin, FAINT, font, "lm")
        pen.text(
            (2 * GAP + font.getlength(origin), y + FRAME + CAPTION // 2 - 2), f"“{exhibit.prompt}”", INK, font, "lm"
        )
    picture.save(target, quality=JPEG_QUALITY)
    return target


def draw_given(films: list[tuple[GivenExhibit, Path]], target: Path) -> Path:
    """Two rows for each film, what was given and what was made, with note and prompt below."""
    font = ImageFont.load_default(16)
    width = FRAMES * (SMALL_FRAME + GAP) + GAP + SMALL_SOUND
    height = 2 * (SMALL_FRAME + GAP) + CAPTION
    picture = Image.new("RGB", (width, len(films) * height + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    for row, (exhibit, path) in enumerate(films):
        y = GAP + row * height
        for number, shown in enumerate((exhibit.shown, path)):
            total = len(media.read_frames(path))
            _strip(picture, y + number * (SMALL_FRAME + GAP), shown, SMALL_FRAME, SMALL_SOUND, total)
        y += height - CAPTION // 2 - GAP
        pen.text((2 * GAP, y), exhibit.note, FAINT, font, "lm")
        pen.text((2 * GAP + font.getlength(exhibit.note + " "), y), f"“{exhibit.prompt}”", INK, font, "lm")
    picture.save(target, quality=JPEG_QUALITY)
    return target


def _strip(page: Image.Image, y: int, path: Path, size: int, sound_width: int, total: int = 0) -> None:
    """A row of a page: frames of a film spread evenly from the first to the last, and its sound at the right; what it
    has not is left empty.  `total`: frames of a longer film on whose time it stands."""
    frames = media.read_frames(path)
    for column in range(FRAMES):
        number = round(column * ((total or len(frames)) - 1) / (FRAMES - 1))
        if number < len(frames):
            frame = frames[number].resize((size, size), Image.Resampling.LANCZOS)
            page.paste(frame, (GAP + column * (size + GAP), y))
    sound, rate = media.read_sound(path)
    if sound.size:
        share = len(frames) / total if frames and total else 1
        drawn = sound_picture.draw(sound, rate, round((sound_width - GAP) * share), size)
        page.paste(drawn, (page.width - sound_width, y))


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
