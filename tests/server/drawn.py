"""Films of the drawn world, in the place of films that the trained model makes; what is seen and heard of either."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from ltx_duo.demo_model.detectors import heard, seen
from ltx_duo.demo_model.world import Scene, render, sound
from ltx_duo.scripts.demo import media

STAR = Scene(shape="star", colour="red", background="grey", motion="left", size="large", x=0.7, y=0.5, angle=0.0)
SQUARE = Scene(shape="square", colour="blue", background="grey", motion="right", size="large", x=0.3, y=0.5, angle=0.0)
RATE = 48000


def save_film(scene: Scene, path: Path, size: int = 128) -> Path:
    """The drawn clip as ComfyUI would save it."""
    pixels = ((render([scene], size, size)[0].permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()
    samples = sound([scene], sample_rate=RATE)[0].numpy()
    with av.open(str(path), "w") as container:
        picture = container.add_stream("h264", 24)
        picture.width = picture.height = size
        picture.pix_fmt = "yuv420p"
        tone = container.add_stream("aac", RATE, layout="stereo")
        for image in pixels:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image)))
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        container.mux(tone.encode(frame))
        for stream in (picture, tone):
            container.mux(stream.encode())
    return path


def words(path: Path) -> tuple[str | None, ...]:
    """Colour, shape, motion that are seen, and the shape that is heard."""
    frames = np.stack([np.asarray(frame) for frame in media.read_frames(path)])
    picture = seen(torch.from_numpy(frames).float() / 255)
    waveform, rate = media.read_sound(path)
    return picture.colour, picture.shape, picture.motion, heard(torch.from_numpy(waveform), rate).shape
