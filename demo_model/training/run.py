"""What all pieces of one call of the training share."""

import math
import random
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...scripts.demo.server import GEMMA_270M
from ..world import Scene, draw_scene


@dataclass(frozen=True)
class Run:
    """Where to train and for how long; `seconds` are those of the whole call, `text_encoder` is Gemma's folder.

    Everything random is drawn anew for each step from the seed, the piece and the step: going on after a stop needs no
    generator's state.
    """

    out: Path
    device: torch.device
    small: bool = False
    seed: int = 0
    seconds: float = math.inf
    text_encoder: Path = GEMMA_270M
    started: float = field(default_factory=time.monotonic)

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() - self.started >= self.seconds

    def scenes(self, piece: str, step: int | str, count: int, **fixed: str) -> list[Scene]:
        """The scenes of a step; steps that are called by a word are for measuring and never trained on."""
        generator = random.Random(f"{self.seed}/{piece}/{step}")
        return [draw_scene(generator, **fixed) for _ in range(count)]

    def seed_weights(self, piece: str) -> None:
        """Makes the first weights of modules that are built next depend on nothing but seed and piece."""
        torch.manual_seed(self._number(piece, "weights"))

    def generator(self, piece: str, step: int | str) -> torch.Generator:
        """A generator on the device, for the noise of a step."""
        return torch.Generator(self.device).manual_seed(self._number(piece, step))

    def _number(self, piece: str, step: int | str) -> int:
        return zlib.crc32(f"{self.seed}/{piece}/{step}".encode())


def new_run(
    out: Path,
    device: str | None,
    small: bool = False,
    seed: int = 0,
    seconds: float = math.inf,
    text_encoder: Path | None = None,
) -> Run:
    """A run on `device`, or on the GPU if there is one; TensorFloat-32 is good enough for training."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Run(out, torch.device(chosen), small, seed, seconds, text_encoder or GEMMA_270M)
