"""Films of the drawn world, in the place of films that the trained model makes."""

from fractions import Fraction
from pathlib import Path

import av

from ltx_duo.demo_model.world import Scene, render, sound

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
