"""Decides whether a tensor goes through a fused kernel or through its plain twin."""

import functools
import logging

import torch
from torch import Tensor

logger = logging.getLogger("ltx_duo")


def can_fuse(x: Tensor) -> bool:
    """Whether fused kernels serve x: it is on a GPU where Triton works, and no gradient has to flow through it."""
    if not x.is_cuda or (torch.is_grad_enabled() and x.requires_grad):
        return False
    return triton_works(x.device)


@functools.cache
def triton_works(device: torch.device) -> bool:
    """Tries a kernel once per device: Triton may be missing, or lack a compiler, or not know the GPU."""
    try:
        from .triton_norm import residual_norm

        with torch.cuda.device(device):  # kernels run on the current one, whatever they are given
            x = torch.ones(1, 1, 64, device=device)
            _, (normed,), _ = residual_norm(x, None, None, ((None, None),), 1e-6)
            working = bool(torch.allclose(normed, x, atol=1e-3))
    except Exception as error:  # any failure of a compiler means the same: use the plain functions
        logger.warning("LTX Duo: fused kernels are off on %s, everything still works but slower: %s", device, error)
        return False
    return working
