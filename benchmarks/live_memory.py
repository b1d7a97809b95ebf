"""Peak memory of a call: from CUDA's allocator on a GPU, elsewhere by counting the storages that operations make."""

import weakref
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveStorages(TorchDispatchMode):
    """Counts bytes of the storages that were made inside and are still alive; not what operations use internally."""

    def __init__(self):
        super().__init__()
        self.known: dict[int, int] = {}
        self.live = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {
            t.untyped_storage()._cdata for t in tree_flatten((args, kwargs or {}))[0] if isinstance(t, torch.Tensor)
        }
        result = function(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                self._seen(tensor.untyped_storage(), given)
        return result

    def _seen(self, storage, given: set[int]) -> None:
        key = storage._cdata
        if key in self.known or key in given:
            return
        self.known[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.live -= self.known.pop(key, 0)


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """The most bytes that a call has allocated at once, beyond what was there before it."""
    if device == "cpu":
        with LiveStorages() as storages:
            call()
        return storages.peak
    call()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
