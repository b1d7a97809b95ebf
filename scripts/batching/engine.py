"""One engine: the models, loaded once, and the films that it makes of jobs.  Runs wherever it is started."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ...ltx_core import GivenSound, LoRA, LTXError, StagedLoRA, generate, load_components, write_film
from .foreman import Made, Ready, Refused
from .jobs import Job
from .media import read_image, read_sound
from .requests import request_of

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class ModelFiles:
    """Paths as they are on the machines of the engines; `loras` with their strengths in stage one and two.

    dtype None: bfloat16 on a GPU, float32 on a CPU, where it is the faster one.
    """

    checkpoint: str
    gemma: str
    upsampler: str
    loras: tuple[tuple[str, float, float], ...] = ()
    dtype: str | None = None

    def names(self) -> dict[str, object]:
        """What of them counts for a film, wherever the files lie."""
        paths = {"checkpoint": self.checkpoint, "gemma": self.gemma, "upsampler": self.upsampler}
        return {
            **{what: Path(path).name for what, path in paths.items()},
            "loras": [[Path(path).name, one, two] for path, one, two in self.loras],
            "dtype": self.dtype,
        }

    def paths(self) -> list[str]:
        return [self.checkpoint, self.gemma, self.upsampler, *(path for path, _, _ in self.loras)]


class Engine:
    """Answers are values, not errors, where asking again would bring the same."""

    def __init__(self, files: ModelFiles, threads: int):
        self.files = files
        self.threads = threads

    def load(self) -> Ready | Refused:
        """Reads all models into memory."""
        torch.set_num_threads(self.threads)
        start, files = time.monotonic(), self.files
        gpu = torch.cuda.is_available()
        dtype = files.dtype or ("bfloat16" if gpu else "float32")
        host = socket.gethostname()
        try:
            missing = [path for path in files.paths() if not os.path.exists(path)]
            if missing:
                return Refused(f"{', '.join(missing)} is not there on {host}: every machine needs the model files")
            loras = [StagedLoRA(LoRA.open(path), one, two) for path, one, two in files.loras]
            components = load_components(files.checkpoint, files.gemma, files.upsampler, dtype=DTYPES[dtype])
        except LTXError as error:
            return Refused(f"{error} ({host})")
        self.components, self.loras = components, loras
        self.host, self.device = host, torch.cuda.get_device_name() if gpu else "CPU"
        sizes = {Path(path).name: _bytes(Path(path)) for path in files.paths()}
        seconds = round(time.monotonic() - start, 1)
        facts = {"host": host, "device": self.device, "dtype": dtype, "models": sizes}
        return Ready(f"{host}, {self.device}, {dtype}, loaded in {seconds:g} s", facts)

    def make(self, job: Job, files: Sequence[bytes]) -> Made | Refused:
        """The film of a filled job; `files` are its images and, last, its sound."""
        start = time.monotonic()
        try:
            images = [read_image(data) for data in files[: len(job.images)]]
            sound = None if job.sound is None else GivenSound(*read_sound(files[-1]), job.sound.start)
            request = request_of(job, self.components.variant, images, sound)
            with _warnings() as said, tempfile.TemporaryDirectory() as folder:
                film = Path(folder) / "film.mp4"
                write_film(generate(self.components, request, loras=self.loras), film)
                data = film.read_bytes()
        except LTXError as error:
            return Refused(str(error))
        return Made(data, round(time.monotonic() - start, 2), tuple(said))


def _bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()) if file.is_file())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collects what the engine warns of: on another machine nobody reads its log."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in said:
                said.append(record.getMessage())

    log, collector = logging.getLogger("ltx_duo"), Collector(logging.WARNING)
    log.addHandler(collector)
    try:
        yield said
    finally:
        log.removeHandler(collector)
