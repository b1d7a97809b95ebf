"""With dynamic VRAM, the next block's streamed weights come to the device while a block computes.

ComfyUI does this for its own models.  Without it a layer's weight is asked for when the layer runs, one ahead at most:
the sound's layers compute for less time than their weights take, and each of them waits.
"""

import weakref
from types import ModuleType

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from . import compat


def fetch_ahead(blocks: nn.ModuleList, device: torch.device) -> None:
    """From now on, whenever these blocks run one after another on `device`, where this ComfyUI can do it."""
    module = compat.prefetch_module()
    if module is None or "_fetching" in blocks.__dict__:
        return
    blocks.__dict__["_fetching"] = _Fetcher(module, blocks, device)
    resume(blocks)


def pause(blocks: nn.ModuleList) -> None:
    """Nothing is fetched for these blocks until `resume`."""
    if "_fetching" in blocks.__dict__:
        blocks.__dict__["_fetching"].take_off()


def resume(blocks: nn.ModuleList) -> None:
    if "_fetching" in blocks.__dict__:
        blocks.__dict__["_fetching"].put_on(blocks)


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
        self._hooks: list[RemovableHandle] = []
        _FETCHERS.add(self)

    def put_on(self, blocks: nn.ModuleList) -> None:
        if not self._hooks:
            self._hooks = [block.register_forward_pre_hook(self.before) for block in blocks]
            self._hooks.append(blocks[-1].register_forward_hook(self.after))

    def take_off(self) -> None:
        self._drop_own()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def before(self, block: nn.Module, inputs: tuple) -> None:
        blocks = self._blocks()
        if block is blocks[0]:
            self._drop_own()
            options = {"prefetch_dynamic_vbars": True}
            self._queue = self._module.make_prefetch_queue(list(blocks), self._device, options)
        self._module.prefetch_queue_pop(self._queue, self._device, block)

    def after(self, block: nn.Module, inputs: tuple, outputs) -> None:
        self._module.prefetch_queue_pop(self._queue, self._device, None)
        self.forget()

    def _drop_own(self) -> None:
        """Where an evaluation broke off.  ComfyUI has one list for all devices, which others may be at work with."""
        if self._queue is not None:
            self._module.cleanup_prefetch_queues()
            self.forget()

    def forget(self) -> None:
        self._queue = None


_FETCHERS: "weakref.WeakSet[_Fetcher]" = weakref.WeakSet()
