"""Draws what the gallery gives to the small model, films, a sound and a mask, into demo_model/given.

    python demo_model/write_given.py [DIR]

Needs what `bash scripts/setup.sh demo` prepares.
"""

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

PACK = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path.insert(0, str(PACK / "scripts"))
    import small_model

    small_model.load_pack()

from ltx_duo.demo_model.world import Scene, outline, render, sound  # noqa: E402
from ltx_duo.demo_model.world.scenes import FPS, FRAMES, floor  # noqa: E402

RATE = 48000
SIZE = 256
SHARP = {"crf": "12"}

STAR = Scene(shape="star", colour="red", background="grey", motion="left", size="large", x=0.7, y=0.5, angle=0.0)
SQUARE = Scene(shape="square", colour="blue", background="grey", motion="right", size="large", x=0.25, y=0.5, angle=0.0)
BALL = Scene(shape="circle", colour="orange", background="grey", motion="bouncing", size="large", x=0.5, y=0.4, angle=0)
BALL = replace(BALL, y=floor(BALL) - 0.42)
TRIANGLE = Scene(
    shape="triangle", colour="orange", background="grey", motion="right", size="large", x=0.25, y=0.6, angle=0.0
)
WRONG = range(10, 24)  # frames in which the star has another colour
BEGUN = 17  # frames of the square's film
MASK = (8, 56, 248, 200)  # left, top, right, bottom


def pixels_of(scene: Scene, size: int = SIZE, frames: int = FRAMES, width: int | None = None) -> np.ndarray:
    """(frames, size, width or size, 3) uint8."""
    return ((render([scene], size, width or size, frames)[0].permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()


def wrong_colour() -> np.ndarray:
    """The star's film, in which it turns blue for a while."""
    pixels, blue = pixels_of(STAR), pixels_of(replace(STAR, colour="blue"))
    pixels[WRONG] = blue[WRONG]
    return pixels


def outline_of(scene: Scene) -> np.ndarray:
    """The edges of its film, white on black."""
    drawn = outline(render([scene], SIZE // 2, SIZE // 2, FRAMES))[0].permute(1, 2, 3, 0)
    return ((drawn + 1) * 127.5).round().byte().numpy()


def sound_of(scene: Scene, frames: int = FRAMES) -> np.ndarray:
    """(2, samples) float32 at 48 kHz."""
    return sound([scene], frames, sample_rate=RATE)[0].numpy()


def save_film(path: Path, pixels: np.ndarray, samples: np.ndarray | None, options: dict | None = None) -> Path:
    """An MP4 at 24 frames a second, with stereo sound at 48 kHz unless `samples` is None; `options` of the codec."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("h264", round(FPS), options=options)
        picture.height, picture.width = pixels.shape[1:3]
        picture.pix_fmt = "yuv420p"
        streams = [picture]
        if samples is not None:
            streams.append(container.add_stream("aac", RATE, layout="stereo"))
        for image in pixels:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image)))
        if samples is not None:
            container.mux(streams[1].encode(_audio_frame(samples, "fltp")))
        for stream in streams:
            container.mux(stream.encode())
    return path


def save_sound(path: Path, samples: np.ndarray) -> Path:
    """A FLAC file of 48 kHz, which keeps its exact length."""
    whole = (samples * 32767).round().clip(-32768, 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", RATE, layout="stereo", format="s16")
        container.mux(stream.encode(_audio_frame(whole.T.reshape(1, -1), "s16")))
        container.mux(stream.encode())
    return path


def save_painted(path: Path, picture: np.ndarray, box: tuple[int, int, int, int]) -> Path:
    """A picture (height, width, 3) as ComfyUI's mask editor leaves it: the painted box is clear."""
    alpha = Image.new("L", picture.shape[1::-1], 255)
    alpha.paste(0, box)
    painted = Image.fromarray(picture)
    painted.putalpha(alpha)
    painted.save(path)
    return path


def _audio_frame(samples: np.ndarray, layout: str) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), layout, "stereo")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
    return frame


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_sound(folder / "bounces.flac", sound_of(BALL))
    save_film(folder / "silent-ball.mp4", pixels_of(BALL), None, SHARP)
    save_film(folder / "star-turns-blue.mp4", wrong_colour(), sound_of(STAR), SHARP)
    save_film(folder / "square-begins.mp4", pixels_of(SQUARE, frames=BEGUN), sound_of(SQUARE, BEGUN), SHARP)
    save_film(folder / "star.mp4", pixels_of(STAR), sound_of(STAR), SHARP)
    save_film(folder / "outline.mp4", outline_of(TRIANGLE), sound_of(TRIANGLE), SHARP)
    save_painted(folder / "painted.png", pixels_of(STAR, frames=1)[0], MASK)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACK / "demo_model" / "given")
