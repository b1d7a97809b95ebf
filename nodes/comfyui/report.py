"""What a node shows of its work when it has run: on the node itself, and in ComfyUI's history under `text`."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ltx_core.checkpoint import Checkpoint, Component
from ...ltx_core.loading import weight_shapes
from ...ltx_core.quantization import quantization
from ...ltx_core.variants import Kind
from . import compat

log = logging.getLogger("ltx_duo")

# What a whole checkpoint holds, by the words for what is missing.
WHOLE = {
    "video VAE": (Component.VIDEO_ENCODER, Component.VIDEO_DECODER),
    "audio VAE": (Component.AUDIO_DECODER,),
    "vocoder": (Component.VOCODER,),
    "text projection": (Component.TEXT_PROJECTION,),
}
GB = 1e9


class NodeReport:
    """Collects a node's lines and hands them out with its results."""

    def __init__(self):
        self.said: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @property
    def lines(self) -> list[str]:
        return [*self.said, *self.notes, *self.warnings]

    def say(self, text: str) -> None:
        """Shows `text` on the running node, in place of what it said before; notes and warnings stay below it."""
        self.said = [text]
        self._show()

    def note(self, text: str) -> None:
        """Adds a line that stays: how an input was taken."""
        if text not in self.notes:
            self.notes.append(text)

    def warn(self, text: str | None) -> None:
        """Warns of what was asked for and is not done, or is done in another way: on the node and in the log, once.

        None is nothing to say.
        """
        if text is not None and text not in self.warnings:
            self.warnings.append(text)
            log.warning("LTX Duo: %s", text)
            self._show()

    def note_graphs(self, evaluations: int, replayed: int, reason: str | None) -> None:
        """Says how many evaluations of the transformer were replayed from CUDA graphs; `reason`: why none was.

        Where there was nothing to gain, nor a GPU, nothing.
        """
        if replayed:
            self.note(f"CUDA graphs replayed {replayed} of {evaluations} evaluations")
        elif reason is not None:
            self.note(f"No CUDA graphs, which make small sizes faster: {reason}")

    @contextmanager
    def sampling(self, sigmas: Tensor, passes: int, device: torch.device, alone: int = 0) -> Iterator[None]:
        """Measures what runs inside, and says it at the end.  `alone`: the steps of one pass among them."""
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        yield
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
        self.say(sampling_text(sigmas, passes, seconds, peak, alone))

    def output(self, *values) -> io.NodeOutput:
        if self.warnings:
            self._show()  # a phase's name may stand over them
        return io.NodeOutput(*values, ui={"text": self.lines} if self.lines else None)

    def _show(self) -> None:
        compat.send_text("\n".join(self.lines))


def sampling_text(sigmas: Tensor, passes: int, seconds: float, peak: int | None, alone: int = 0) -> str:
    """E.g. "30 steps x 4 passes, 1.83 s a step, 54.9 s; sigma 1 to 0; peak VRAM 41.2 GB".

    Where guidance is reused: "17 steps x 4 passes and 13 x 1, ...".
    """
    steps = len(sigmas) - 1
    plural = "pass" if passes == 1 else "passes"
    text = f"{steps - alone} steps x {passes} {plural}"
    text += f" and {alone} x 1" if alone else ""
    text += f", {seconds / max(steps, 1):.2f} s a step, {seconds:.1f} s"
    text += f"; sigma {float(sigmas[0]):.4g} to {float(sigmas[-1]):.4g}"
    return text if peak is None else f"{text}; peak VRAM {peak / GB:.1f} GB"


def model_text(checkpoint: Checkpoint, kind: Kind, chosen: bool) -> str:
    """E.g. "LTX-2.3 dev (by its name), 21.6 B parameters, BF16 and nvfp4; the file lacks: vocoder"."""
    tensors, layers = checkpoint.tensors(Component.TRANSFORMER), quantization(checkpoint)
    packed = {f"{layer}.weight": found.format for layer, found in layers.items() if found.packed}
    counts: dict[str, int] = {}
    for name, shape in weight_shapes(checkpoint, Component.TRANSFORMER).items():
        form = packed.get(name, tensors[name].dtype)
        counts[form] = counts.get(form, 0) + prod(shape)
    total = sum(counts.values())
    size = f"{total / 1e9:.1f} B" if total >= 1e8 else f"{total / 1e6:.1f} M"
    dtypes = " and ".join(sorted(dtype for dtype, count in counts.items() if count >= total / 100))
    lacks = [words for words, parts in WHOLE.items() if not checkpoint.components.issuperset(parts)]
    source = "as chosen" if chosen else "by its name"
    text = f"{checkpoint.generation or 'LTX-2.3'} {kind} ({source}), {size} parameters, {dtypes}"
    return f"{text}; the file lacks: {', '.join(lacks)}" if lacks else f"{text}; the file is complete"
