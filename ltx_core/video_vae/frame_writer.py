"""Decoded pixels to frames on the CPU, without holding up the GPU that decodes the next ones."""

import math
import threading

import torch
from torch import Tensor

from .params import PIXEL_CHANNELS

# Bounds the memory for turning finished frames into the result's layout, on the device and pinned on the host.
_FRAMES_PER_COPY = 8


class FrameWriter:
    """Fills `frames` (F, H, W, 3), float32 in 0..1 on the CPU, part by part.

    On a GPU each part is put in order there and goes through one of two pinned buffers, so that it is on its way while
    the part before is copied to its place.  Meanwhile a thread has the operating system provide the result's memory,
    which takes longer than copying into it.  Call `finish` before reading `frames`.
    """

    def __init__(self, count: int, height: int, width: int, device: torch.device):
        self.frames = torch.empty((count, height, width, PIXEL_CHANNELS), dtype=torch.float32, device="cpu")
        self._staging: list[Tensor] = []
        self._pending: list[tuple[torch.cuda.Event, Tensor, Tensor]] = []
        self._provider = threading.Thread(target=self._provide)
        self._provider.start()
        if device.type == "cuda":
            shape = (min(count, _FRAMES_PER_COPY), *self.frames.shape[1:])
            self._staging = [torch.empty(shape, dtype=torch.float32, pin_memory=True) for _ in range(2)]

    @torch.inference_mode()  # a thread does not inherit it, and the caller's tensors may be made in it
    def _provide(self) -> None:
        self.frames.fill_(math.nan)  # a frame that is never written shows

    def write(self, pixels: Tensor, start: int) -> None:
        """Places pixels (3, n, H, W) around [-1, 1], of any float dtype, as frames from `start` on."""
        for offset in range(0, pixels.shape[1], _FRAMES_PER_COPY):
            part = pixels[:, offset : offset + _FRAMES_PER_COPY].movedim(0, -1)
            part = part.to(torch.float32, copy=True).add_(1).mul_(0.5).clamp_(0, 1)
            self._place(part, self.frames[start + offset : start + offset + part.shape[0]])

    def finish(self) -> Tensor:
        """Waits for the last parts and returns all frames."""
        self._provider.join()
        while self._pending:
            self._settle()
        return self.frames

    def _place(self, part: Tensor, target: Tensor) -> None:
        if not self._staging:
            self._provider.join()
            target.copy_(part)
            return
        if len(self._pending) == len(self._staging):
            self._settle()
        staging = self._staging.pop(0)
        self._staging.append(staging)
        staged = staging[: part.shape[0]]
        staged.copy_(part.contiguous(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._pending.append((arrived, staged, target))

    def _settle(self) -> None:
        arrived, staged, target = self._pending.pop(0)
        arrived.synchronize()
        self._provider.join()
        target.copy_(staged)
