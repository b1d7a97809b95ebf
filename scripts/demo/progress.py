"""Says how far a run is and how long each phase took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .client import Run

PHASES = {
    "LoadImage": "image",
    "LTXDuoImageCondition": "image",
    "LoadAudio": "sound",
    "LTXDuoSoundCondition": "sound",
    "LTXDuoTextEncode": "text",
    "LTXDuoStageOneSampler": "stage one",
    "LTXDuoLatentUpsampler": "upsample",
    "LTXDuoStageTwoSampler": "stage two",
    "LTXDuoAVDecode": "decode",
    "SaveVideo": "save",
}
LOADING = "open files"
WORTH_A_LINE = 0.05


class Clock:
    """Seconds per phase, printed as each phase ends."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + seconds, 2)
        if seconds >= WORTH_A_LINE:
            print(f"{phase:<14}{seconds:8.1f} s", flush=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.add(name, time.monotonic() - start)


class Progress:
    """Follows a run: prints every phase as it ends and, on a terminal, how far it is."""

    def __init__(self, prompt: dict, clock: Clock):
        self.phase_of = {node: PHASES.get(entry["class_type"], LOADING) for node, entry in prompt.items()}
        self.clock = clock
        self.phase: str | None = None
        self.since = 0.0

    def __call__(self, node: str, run: Run) -> None:
        phase = self.phase_of[node]
        if phase != self.phase:
            self.end_phase()
            self.phase, self.since = phase, time.monotonic()
        if node in run.progress and sys.stdout.isatty():
            print(f"{phase:<14}{run.progress[node]:8.0%}", end="\r", flush=True)

    def end_phase(self) -> None:
        if self.phase is not None:
            self.clock.add(self.phase, time.monotonic() - self.since)
