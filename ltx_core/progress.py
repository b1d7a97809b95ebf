"""How the engine tells its caller where it is, and lets the caller stop it."""

from typing import Protocol

from torch import Tensor


class Reporter(Protocol):
    """Receives progress; raises whatever it likes from any method to cancel the work."""

    def check_cancel(self) -> None:
        """Called often (each block, tile, layer); raises to stop the work at once."""

    def step(self, done: int, total: int, video_x0: Tensor | None = None) -> None:
        """`done` of `total` units finished; `video_x0` (B, 128, F, H, W) is there while it is sampled, for previews."""


class SilentReporter:
    """Reports to nobody and never cancels."""

    def check_cancel(self) -> None:
        pass

    def step(self, done: int, total: int, video_x0: Tensor | None = None) -> None:
        pass


SILENT = SilentReporter()
