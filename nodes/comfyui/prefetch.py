"""With dynamic VRAM, the next block's streamed weights come to the device while a block computes.

ComfyUI does this for its own models.  Without it a layer's weight is asked for when the layer runs, one ahead at most:
the sound's layers compute for less time than their weights take, and each of them waits.
"""

import weakref
from types import ModuleType

import torch
from torch import nn

from . import compat


def fetch_ahead(blocks: nn.ModuleList, device: torch.device) -> None:
    """From now on, whenever these blocks run one after another on `device`, where this ComfyUI can do it."""
    module = compat.prefetch_module()
    if module is None or "_fetching" in blocks.__dict__:
        return
    blocks.__dict__["_fetching"] = True
    fetcher = _Fetcher(module, blocks, device)
    for block in blocks:
        block.register_forward_pre_hook(fetcher.before)
    blocks[-1].register_forward_hook(fetcher.after)


def drop_fetched() -> None:
    """Lets go of what was fetched for evaluations that broke off; while none runs, on any device."""
    module = compat.prefetch_module()
    if module is not None:
        module.cleanup_prefetch_queues()
        for fetcher in _FETCHERS:
            fetcher.forget()


class _Fetcher:
    def __init__(self, module: ModuleType, blocks: nn.ModuleList, device: torch.device):
        # The blocks' hooks hold this object: they would never be freed if it held them.
        self._module, self._blocks, self._device = module, weakref.ref(blocks), device
        self._queue: list | None = None
        _FETCHERS.add(self)

    def before(self, block: nn.Module, inputs: tuple) -> None:
        blocks = self._blocks()
        if block is blocks[0]:
            # ComfyUI has one list of queues, for all devices: it is cleared here only where an evaluation broke off.
            if self._queue is not None:
                self._module.cleanup_prefetch_queues()
            options = {"prefetch_dynamic_vbars": True}
            self._queue = self._module.make_prefetch_queue(list(blocks), self._device, options)
        self._module.prefetch_queue_pop(self._queue, self._device, block)

    def after(self, block: nn.Module, inputs: tuple, outputs) -> None:
        self._module.prefetch_queue_pop(self._queue, self._device, None)
        self.forget()

    def forget(self) -> None:
        self._queue = None


_FETCHERS: "weakref.WeakSet[_Fetcher]" = weakref.WeakSet()
