"""FlashAttention 3 for the peers, under the name by which they look for it."""

import importlib
import sys
from collections.abc import Callable

import torch
from torch.nn import functional as F

MODULES = ("flash_attn_interface", "fa3_fwd_interface")


def flash_attention(device: str) -> Callable | None:
    """`flash_attn_func` on (B, T, H, D) of an installed package, None without one; on the CPU PyTorch's stands in."""
    if device == "cpu":
        return _stand_in
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        sys.modules.setdefault(MODULES[0], module)
        return module.flash_attn_func
    return None


def _stand_in(q, k, v, softmax_scale=None, return_attn_probs=False, **_):
    out = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), scale=softmax_scale).transpose(1, 2)
    sums = torch.zeros(q.shape[0], q.shape[2], q.shape[1], device=q.device)
    return (out.contiguous(), sums) if return_attn_probs else out
