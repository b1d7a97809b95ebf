"""Page-locked copies of tensors, from where a GPU takes them several times faster than from a mapped file."""

import logging
from collections.abc import Iterable, Mapping

import comfy.model_management as mm
import torch
from comfy.cli_args import args
from torch import Tensor

log = logging.getLogger("ltx_duo")

# PyTorch rounds each piece of page-locked memory up to a power of two: many tensors share one of this size.
BLOCK = 512 * 2**20
ALIGNMENT = 512
# Bytes of the host's memory that stay free.
SPARE = 4 * 2**30


def pinned(parts: Iterable[Mapping[str, Tensor]], size: int, device: torch.device) -> dict[str, Tensor] | None:
    """Copies of these tensors, of `size` bytes together, for use on `device`; a part is let go before the next is read.

    None where ComfyUI pins nothing, too little memory is free, or the system locks no more of it.
    """
    wanted = getattr(mm, "MAX_PINNED_MEMORY", 0) > 0 and not getattr(args, "disable_pinned_memory", False)
    if device.type != "cuda" or not wanted or mm.get_free_memory(torch.device("cpu")) < size + SPARE:
        return None
    copies, block, used = {}, None, 0
    for part in parts:
        for name, tensor in part.items():
            taken = tensor.numel() * tensor.element_size()
            if block is None or used + taken > block.numel():
                try:
                    block, used = allocate(max(BLOCK, taken)), 0
                except RuntimeError as error:  # Windows and containers limit it
                    log.info("a LoRA stays in its file, no page-locked memory: %s", error)
                    return None
            copies[name] = block[used : used + taken].view(tensor.dtype).view(tensor.shape).copy_(tensor)
            used += -(-taken // ALIGNMENT) * ALIGNMENT
    return copies


def allocate(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)
