"""Launches Triton kernels, also inside a recording under an allocator whose memory Triton does not know yet."""

from functools import cache

import torch
from torch import Tensor


def launch(kernel, grid: tuple[int, ...], *arguments, **options) -> None:
    """kernel[grid](*arguments, **options).

    Memory that `cudaMallocAsync` gives inside a recording exists only when that is replayed.  Triton asks the driver
    about every tensor's memory and refuses such; addresses it takes as they are.
    """
    if _known_memory() or not torch.cuda.is_current_stream_capturing():
        kernel[grid](*arguments, **options)
        return
    compiled = kernel.warmup(*arguments, grid=grid, **options)
    addresses = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    constants = [options[name] for name in kernel.arg_names[len(arguments) :]]
    compiled[(*grid, 1, 1)[:3]](*addresses, *constants)


@cache
def _known_memory() -> bool:
    return not torch.cuda.is_available() or torch.cuda.get_allocator_backend() == "native"
