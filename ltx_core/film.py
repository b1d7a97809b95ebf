"""A result as an MP4 file with sound."""

import os
from fractions import Fraction

import torch

from .image_compression import pyav
from .two_stage import Result

_CRF = "18"


def write_film(result: Result, path: str | os.PathLike[str]) -> None:
    """Writes frames as H.264 and the waveform as AAC; a file that is there is replaced once the new one is whole.

    LTXError where PyAV is not installed.
    """
    av = pyav("Writing a film")
    part = f"{os.fspath(path)}.part"
    frames, height, width, _ = result.frames.shape
    rate = Fraction(result.fps).limit_denominator(1001)
    try:
        with av.open(part, "w", format="mp4") as container:
            picture = container.add_stream("libx264", rate=rate, options={"crf": _CRF})
            picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
            sound = container.add_stream("aac", rate=result.sample_rate, layout="stereo")
            for number in range(frames):
                pixels = (result.frames[number].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
                container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(picture.encode())
            waveform = result.waveform[0].contiguous().numpy()
            samples = av.AudioFrame.from_ndarray(waveform, format="fltp", layout="stereo")
            samples.sample_rate = result.sample_rate
            container.mux(sound.encode(samples))
            container.mux(sound.encode())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
