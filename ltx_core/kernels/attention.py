"""Attention by what is fastest for the shape: PyTorch's backends, or a FlashAttention package that is installed."""

import inspect
import threading
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .flash import flash_for

# On Hopper cuDNN's kernels are about twice as fast as the flash kernels that PyTorch brings; where it cannot serve a
# shape, a dtype or a GPU, PyTorch goes down this list.
_PRIORITY = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
# Few queries over many keys: the flash kernels split the keys among the GPU's processors.
_FLASH_FIRST = [_PRIORITY[1], _PRIORITY[0], *_PRIORITY[2:]]
# PyTorch keeps the order for the whole process, and several GPUs are served from a thread each.
_CHOOSING = threading.Lock()
_IN_ORDER = {"set_priority": True} if "set_priority" in inspect.signature(sdpa_kernel).parameters else {}


def fastest_attention(few_queries: bool = False) -> AbstractContextManager:
    """Inside, PyTorch tries its attention backends in the order of their speed."""
    return sdpa_kernel(_FLASH_FIRST if few_queries else _PRIORITY, **_IN_ORDER)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's attention: q (B, H, Tq, D), k and v (B, H, Tk, D), additive or boolean mask -> (B, H, Tq, D)."""
    if q.is_cuda and mask is None and q.dtype in (torch.bfloat16, torch.float16):
        few_queries = q.shape[2] <= 256 and k.shape[2] >= 4096
        with _CHOOSING, fastest_attention(few_queries):
            return F.scaled_dot_product_attention(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """As `scaled_dot_product`, long attentions by FlashAttention where it is installed and works on the GPU."""
    flash = flash_for(q, k, v) if mask is None else None
    return scaled_dot_product(q, k, v, mask) if flash is None else flash(q, k, v)


# What a CUDA graph may hold, whatever the shape.
RECORDABLE = (attend, scaled_dot_product)
