"""With dynamic VRAM, a stage's weights held where they lie, so that recorded work may read them there.

ComfyUI moves weights page by page and asks for each when its layer runs.  Where all of them are on the device anyway,
they are pinned in its own terms for the length of a stage, and layers take them without asking.
"""

import logging
from collections.abc import Sequence
from types import ModuleType

import comfy.model_management as mm
import torch
from torch import nn

from ...ltx_core.execution.capture import ROOM
from . import compat
from .layers import HoldsWeights
from .prefetch import pause, resume

log = logging.getLogger("ltx_duo")


class HeldWeights:
    """What `BlockGraphs` asks to keep weights in their place; a context that lets go of them at its end."""

    def __init__(self):
        self._blocks: nn.ModuleList | None = None
        self._pinned: list[nn.Module] = []

    def hold(self, blocks: nn.ModuleList) -> bool:
        """Whether the weights of these blocks stay where they are from now on, until `release`.

        Not where some of them are on the way, patched at each use, or of layers that do not know how; nor where memory
        is so short that ComfyUI may have to make room, for which it waits for the GPU.
        """
        pages = compat.pages_module()
        layers = [layer for layer in blocks.modules() if hasattr(layer, "_v")]
        if pages is None or not layers or self._pinned or not _has_room(layers[0]):
            return False
        try:
            held = self._pin(pages, layers)
        except BaseException:
            self.release()
            raise
        if not held:
            self.release()
            return False
        pause(blocks)
        self._blocks = blocks
        log.debug("LTX Duo: the weights of %d layers are held for this stage.", len(layers))
        return True

    def _pin(self, pages: ModuleType, layers: Sequence[nn.Module]) -> bool:
        if not _counts_pins(pages, layers[0]._v):
            return False
        for layer in layers:
            if not isinstance(layer, HoldsWeights):
                return False
            signature = pages.vbar_fault(layer._v)
            if signature is None:
                return False
            self._pinned.append(layer)
            if not pages.vbar_signature_compare(signature, getattr(layer, "_v_signature", None)):
                return False
            layer.held = layer._v_weight, layer._v_bias
            if layer.fixed_weights() is None:
                return False
        return True

    def release(self) -> None:
        """From now on ComfyUI moves the weights again as it likes."""
        pages = compat.pages_module()
        for layer in self._pinned:
            layer.held = None
            pages.vbar_unpin(layer._v)
        self._pinned = []
        if self._blocks is not None:
            resume(self._blocks)
            self._blocks = None

    def __enter__(self) -> "HeldWeights":
        return self

    def __exit__(self, *error) -> None:
        self.release()


def _has_room(layer: nn.Module) -> bool:
    """Whether the device that the layer's page is of has memory that ComfyUI need not make free for a recording."""
    vbar, *_ = layer._v
    return mm.get_free_memory(torch.device("cuda", vbar.device)) - mm.extra_reserved_memory() >= ROOM


def _counts_pins(pages: ModuleType, allocation: tuple) -> bool:
    """Whether a page stays pinned until everyone who pinned it has let go: layers share pages."""
    vbar, address, _ = allocation
    page = (address - vbar.base_addr) // PAGE
    if not hasattr(vbar, "get_residency") or pages.vbar_fault(allocation) is None:
        return False
    if pages.vbar_fault(allocation) is not None:
        pages.vbar_unpin(allocation)
    still = bool(vbar.get_residency()[page] & PINNED)
    pages.vbar_unpin(allocation)
    return still


# Of comfy-aimdo: bytes of a page, and the mark of a pinned one.
PAGE = 32 * 2**20
PINNED = 2
