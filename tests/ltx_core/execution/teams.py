"""What tests of several devices share.

On a machine with one GPU, or none, a replica lies beside the model, with weights of its own.
"""

import threading

import torch

from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.transformer.runner import InOrder
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE

FURTHER = "cuda:1" if torch.cuda.device_count() > 1 else DEVICE
# Two threads cannot record on one device.
RUNNER = InOrder if FURTHER == DEVICE else BlockGraphs


class Cancelled(Exception):
    pass


class Reporter:
    """Raises from the check that `stop_at` names on."""

    def __init__(self, stop_at: int | None = None):
        self.checks, self.stop_at = 0, stop_at

    def check_cancel(self) -> None:
        self.checks += 1
        if self.stop_at is not None and self.checks >= self.stop_at:
            raise Cancelled

    def step(self, done, total, video_x0=None) -> None:
        pass


def helpers_alive() -> int:
    return sum(thread.name.startswith("ltx-duo-gpu") for thread in threading.enumerate())
