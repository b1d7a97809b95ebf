"""The images and sounds of jobs: looked at before anything starts, and decoded as ComfyUI's loaders do."""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...ltx_core.errors import LTXError
from ...ltx_core.image_compression import pyav
from ...ltx_core.sampling.conditions import GivenSound
from .faults import JobFault
from .jobs import Job


@dataclass(frozen=True)
class GivenFile:
    """A file that a job names, as it was when the batch began."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Its content; JobFault when it is no longer the same."""
        data = _content(self.path, "file")
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise JobFault(f"{self.path} has changed since the batch began: start the batch again")
        return data


@dataclass
class Library:
    """All files that a list names, each read once and not kept; of a sound its samples and its rate."""

    images: dict[Path, GivenFile] = field(default_factory=dict)
    sounds: dict[Path, tuple[GivenFile, int, int]] = field(default_factory=dict)

    def files_of(self, job: Job) -> tuple[GivenFile, ...]:
        """The files of a job, images first; JobFault for one that is not there or is something else."""
        files = [self._image(image.path) for image in job.images]
        if job.sound is not None:
            files.append(self._sound(job.sound.path)[0])
        return tuple(files)

    def sound_of(self, job: Job) -> GivenSound | None:
        """The sound of a job by its length alone, in silence; LTXError for a start behind its end."""
        if job.sound is None:
            return None
        _, samples, rate = self._sound(job.sound.path)
        return GivenSound(torch.zeros(1, 1).expand(1, samples), rate, job.sound.start)

    def _image(self, path: Path) -> GivenFile:
        if path not in self.images:
            data = _content(path, "image")
            try:
                with Image.open(BytesIO(data)) as image:
                    image.verify()
            except Exception as error:  # Pillow's decoders raise whatever they like
                raise JobFault(f"the image {path} cannot be read: {error}") from None
            self.images[path] = GivenFile(path, hashlib.sha256(data).hexdigest())
        return self.images[path]

    def _sound(self, path: Path) -> tuple[GivenFile, int, int]:
        if path not in self.sounds:
            data = _content(path, "sound")
            try:
                sound = GivenSound(*read_sound(data))
            except LTXError as error:
                raise JobFault(f"{path}: {error}") from None
            samples = sound.waveform.shape[1]
            self.sounds[path] = GivenFile(path, hashlib.sha256(data).hexdigest()), samples, sound.sample_rate
        return self.sounds[path]


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise JobFault(f"the {what} {path} cannot be read: {error.strerror}") from None


def read_image(data: bytes) -> Tensor:
    """(H, W, 3) float 0..1, upright; LTXError for what is no whole image."""
    try:
        with Image.open(BytesIO(data)) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise LTXError(f"The image cannot be decoded ({error}). Save it anew, as PNG or JPEG.") from None
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def read_sound(data: bytes) -> tuple[Tensor, int]:
    """(C, N) float32 in -1..1 and its sampling rate, of the first sound in a file; LTXError where there is none."""
    av = pyav("Reading a sound")
    try:
        with av.open(BytesIO(data)) as container:
            if not container.streams.audio:
                raise LTXError("The file holds no sound.")
            resampler = av.AudioResampler(format="fltp")
            frames = (*container.decode(audio=0), None)  # None: what the resampler still holds
            pieces = [piece.to_ndarray() for frame in frames for piece in resampler.resample(frame)]
            rate = container.streams.audio[0].codec_context.sample_rate
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, LTXError):
            raise
        raise LTXError(f"The sound cannot be decoded ({error}). Save it anew, as WAV or FLAC.") from None
    if not pieces:
        raise LTXError("The sound is empty: give one that lasts.")
    return torch.from_numpy(np.concatenate(pieces, axis=1)), rate
