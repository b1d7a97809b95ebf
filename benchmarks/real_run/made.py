"""What a side makes of a take, as files: its tensors, and what making them took."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

GIB = 2**30
LATENTS = ("stage one video", "stage one audio", "stage two video", "stage two audio")
FRAMES, SOUND = "frames", "sound"  # (F, H, W, 3) uint8; (channels, N) float32


@dataclass(frozen=True)
class Figures:
    """Seconds and memory of one film.

    seconds: the whole call; stages: of each stage, with whatever it loads.  gpu_gib: the most that PyTorch had
    allocated, None without a GPU; host_gib: the most that the process has had so far.  sound_of: whose sound is heard.
    """

    seconds: float
    stages: tuple[float, ...]
    gpu_gib: float | None
    host_gib: float
    sample_rate: int
    sound_of: str


class Clock:
    """Measures one film: begin, call stages through `timed`, then read."""

    def __init__(self, device: str):
        self.device = torch.device(device)
        self.stages: list[float] = []
        self.begin = self._now()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def timed(self, call: Callable) -> Callable:
        """`call`, whose time counts as that of a stage."""

        def measured(*arguments, **options):
            begin = self._now()
            result = call(*arguments, **options)
            self.stages.append(self._now() - begin)
            return result

        return measured

    def figures(self, sample_rate: int, sound_of: str) -> Figures:
        on_gpu = self.device.type == "cuda"
        return Figures(
            self._now() - self.begin,
            tuple(self.stages),
            torch.cuda.max_memory_allocated(self.device) / GIB if on_gpu else None,
            host_gib(),
            sample_rate,
            sound_of,
        )

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def eight_bit(frames: Tensor) -> Tensor:
    """Frames of 8 bits, from floats 0..1 with the fraction cut off, as the vendor's 1.0 gives them."""
    return (frames.clamp(0, 1) * 255).to(torch.uint8) if frames.is_floating_point() else frames


def host_gib() -> float:
    """The most memory that this process has had, mapped files included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def save(folder: Path, take: str, tensors: dict[str, Tensor], figures: Figures) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, _tensors(folder, take))
    (folder / f"{take}.json").write_text(json.dumps(asdict(figures), indent=1) + "\n")


def read(folder: Path, take: str) -> tuple[dict[str, Tensor], Figures] | None:
    """What a side made of a take; None where it did not come so far."""
    path = folder / f"{take}.json"
    if not path.is_file():
        return None
    values = json.loads(path.read_text())
    return load_file(_tensors(folder, take)), Figures(**values | {"stages": tuple(values["stages"])})


def forget(folder: Path, take: str) -> None:
    """Takes the tensors away: half a gigabyte for a film of full size."""
    _tensors(folder, take).unlink(missing_ok=True)


def _tensors(folder: Path, take: str) -> Path:
    return folder / f"{take}.safetensors"
