"""Opens a video file again: what is in it, and a sheet of its frames and its sound."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from . import sound_picture

SHEET_FRAMES = 12
SHEET_COLUMNS = 4
THUMBNAIL_WIDTH = 320
MARGIN = 6
SOUND_HEIGHT = 160


@dataclass(frozen=True)
class MediaInfo:
    """What a video file holds, counted by decoding it."""

    video_codec: str
    width: int
    height: int
    frames: int
    fps: float
    audio_codec: str | None
    sample_rate: int
    channels: int
    sound_seconds: float

    @property
    def video_seconds(self) -> float:
        return self.frames / self.fps


def probe(path: Path) -> MediaInfo:
    """Decodes the whole file."""
    with av.open(str(path)) as container:
        picture = container.streams.video[0]
        sound = container.streams.audio[0] if container.streams.audio else None
        frames = samples = 0
        for frame in container.decode(*filter(None, (picture, sound))):
            if isinstance(frame, av.VideoFrame):
                frames += 1
            else:
                samples += frame.samples
        return MediaInfo(
            video_codec=picture.codec_context.name,
            width=picture.width,
            height=picture.height,
            frames=frames,
            fps=float(picture.average_rate),
            audio_codec=sound.codec_context.name if sound else None,
            sample_rate=sound.sample_rate if sound else 0,
            channels=sound.codec_context.channels if sound else 0,
            sound_seconds=samples / sound.sample_rate if sound else 0.0,
        )


def read_frames(path: Path) -> list[Image.Image]:
    """None of a sound."""
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)] if container.streams.video else []


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """Samples (channels, N) float32, full scale 1, and their rate in Hz; none of a silent film."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros((2, 0), np.float32), 0
        rate = container.streams.audio[0].sample_rate
        planar = av.AudioResampler("fltp")
        frames = [part for frame in container.decode(audio=0) for part in planar.resample(frame)]
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1), rate


def contact_sheet(path: Path, target: Path) -> Path:
    """Draws frames spread evenly over the video, first and last included, each with its number, and the sound below."""
    frames = read_frames(path)
    count = min(SHEET_FRAMES, len(frames))
    numbers = [round(index * (len(frames) - 1) / max(count - 1, 1)) for index in range(count)]
    width = THUMBNAIL_WIDTH
    height = round(width * frames[0].height / frames[0].width)
    rows = -(-count // SHEET_COLUMNS)
    columns = min(count, SHEET_COLUMNS)
    size = columns * (width + MARGIN) + MARGIN, rows * (height + MARGIN) + SOUND_HEIGHT + 2 * MARGIN
    sheet = Image.new("RGB", size, "#202020")
    draw = ImageDraw.Draw(sheet)
    for place, number in enumerate(numbers):
        x = MARGIN + place % SHEET_COLUMNS * (width + MARGIN)
        y = MARGIN + place // SHEET_COLUMNS * (height + MARGIN)
        sheet.paste(frames[number].resize((width, height), Image.Resampling.LANCZOS), (x, y))
        draw.text((x + 5, y + 4), str(number), fill="white", stroke_width=2, stroke_fill="black")
    sound = sound_picture.draw(*read_sound(path), size[0] - 2 * MARGIN, SOUND_HEIGHT)
    sheet.paste(sound, (MARGIN, size[1] - SOUND_HEIGHT - MARGIN))
    sheet.save(target)
    return target
