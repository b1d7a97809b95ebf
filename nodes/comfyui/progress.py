"""Progress bar and cancelling through ComfyUI."""

from collections.abc import Mapping

import comfy.model_management as mm
import comfy.utils
from torch import Tensor

from . import compat
from .previews import previewer

UNITS = 1000
READING = "reading weights"


class NodeProgress:
    """One bar for all phases of a node, each with its share of the work; it never goes back.

    `phases` maps a phase's name to its cost in any unit, in the order in which they run; `latents_of` tells previews
    whose latents they show (see `SampledModel.latents_of`).
    """

    def __init__(self, phases: Mapping[str, float], latents_of: str | None = None):
        total = sum(phases.values())
        self.spans, start = {}, 0.0
        for name, cost in phases.items():
            self.spans[name] = (start / total, cost / total)
            start += cost
        self.bar = comfy.utils.ProgressBar(UNITS)
        self.reached = 0
        self.preview = previewer(latents_of)

    def phase(self, name: str) -> "PhaseReporter":
        """The engine's reporter for one phase; shows the phase's name on the node."""
        compat.send_text(name)
        return PhaseReporter(self, *self.spans[name])

    def show(self, fraction: float, video_x0: Tensor | None) -> None:
        self.reached = max(self.reached, round(fraction * UNITS))
        image = None if video_x0 is None or self.preview is None else self.preview(video_x0)
        self.bar.update_absolute(self.reached, UNITS, image)


class PhaseReporter:
    """The engine's Reporter for one phase of a node."""

    def __init__(self, progress: NodeProgress, start: float, span: float):
        self.progress, self.start, self.span = progress, start, span

    def check_cancel(self) -> None:
        mm.throw_exception_if_processing_interrupted()

    def step(self, done: int, total: int, video_x0: Tensor | None = None) -> None:
        self.check_cancel()
        self.progress.show(self.start + self.span * done / max(total, 1), video_x0)
