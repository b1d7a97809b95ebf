"""A result as an MP4 file with sound."""

import os
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from .errors import LTXError
from .image_compression import pyav
from .request import Result

_CRF = "18"
_LAYOUTS = {1: "mono", 2: "stereo"}


def write_film(result: Result, path: str | os.PathLike[str]) -> None:
    """Writes frames as H.264 and a waveform as AAC; a file that is there is replaced once the new one is whole.

    LTXError for what such a file cannot hold, where it cannot be written, and where PyAV is not installed.
    """
    av = pyav("Writing a film")
    path = Path(path)
    _check(result, path)
    part = path.with_name(f"{path.name}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            _write(av, container, result)
        os.replace(part, path)
    except (OSError, av.FFmpegError) as error:
        raise LTXError(
            f"The film cannot be written to {path}: {error}. Choose a place with room that may be written to, and a "
            "sampling rate that AAC has, such as 48000."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write(av, container, result: Result) -> None:
    frames, height, width, _ = result.frames.shape
    # As the nodes give the rate to ComfyUI: 23.976 is 2997/125.
    picture = container.add_stream("libx264", rate=Fraction(result.fps).limit_denominator(1001), options={"crf": _CRF})
    picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
    layout = None if result.waveform is None else _LAYOUTS[result.waveform.shape[1]]
    sound = None if layout is None else container.add_stream("aac", rate=result.sample_rate, layout=layout)
    for number in range(frames):
        container.mux(picture.encode(av.VideoFrame.from_ndarray(_bytes(result.frames[number]), format="rgb24")))
    container.mux(picture.encode())
    if sound is None:
        return
    waveform = result.waveform[0].float().contiguous().numpy()
    samples = av.AudioFrame.from_ndarray(waveform, format="fltp", layout=layout)
    samples.sample_rate = result.sample_rate
    container.mux(sound.encode(samples))
    container.mux(sound.encode())


def _bytes(frame: Tensor):
    return (frame.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()


def _check(result: Result, path: Path) -> None:
    frames, waveform = result.frames, result.waveform
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise LTXError(f"The frames have shape {tuple(frames.shape)}, expected (frames, height, width, 3).")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise LTXError(
            f"The frames are {frames.shape[2]}x{frames.shape[1]} pixels, expected even sides for H.264. Crop a row "
            "or a column."
        )
    if waveform is not None and (
        waveform.ndim != 3 or waveform.shape[0] != 1 or waveform.shape[1] not in _LAYOUTS or not waveform.shape[2]
    ):
        raise LTXError(f"The waveform has shape {tuple(waveform.shape)}, expected (1, 1 or 2 channels, samples).")
    for name, values in (("frames", frames), ("waveform", waveform)):
        if values is not None and not values.sum().isfinite():
            raise LTXError(f"The {name} hold NaN or infinity, expected numbers. Compute in bfloat16 or float32.")
    if not path.absolute().parent.is_dir():
        raise LTXError(f"There is no folder {path.absolute().parent} for the film {path.name}. Make it first.")
