"""Progress bar, previews and cancelling through ComfyUI."""

from collections.abc import Mapping
from itertools import count

import comfy.model_management as mm
import comfy.utils
from torch import Tensor

from . import compat

UNITS = 1000
READING = "reading weights"


class NodeProgress:
    """One bar for all phases of a node, each with its share of the work; it never goes back.

    `phases` maps a phase's name to its cost in any unit, in the order in which they run.
    """

    def __init__(self, phases: Mapping[str, float]):
        total = sum(phases.values())
        self.spans, start = {}, 0.0
        for name, cost in phases.items():
            self.spans[name] = (start / total, cost / total)
            start += cost
        self.bar = comfy.utils.ProgressBar(UNITS)
        self.reached = 0
        self.preview = _previewer()

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


def _previewer():
    """A function from the clean video latent (B, 128, F, H, W) to ComfyUI's preview image; None when there is none.

    Each call shows the next frame, so that the preview moves while the film becomes clear.
    """
    latent_format = compat.preview_format()
    if latent_format is None:
        return None
    import latent_preview

    previewer = latent_preview.get_previewer(mm.get_torch_device(), latent_format)
    if previewer is None:
        return None
    shown = count()

    def next_frame(video_x0: Tensor):
        frame = next(shown) % video_x0.shape[2]
        return previewer.decode_latent_to_preview_image("JPEG", video_x0[:1, :, frame : frame + 1].float())

    return next_frame
