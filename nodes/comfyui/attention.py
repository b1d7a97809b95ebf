"""The attention that the user chose for ComfyUI, in the engine's terms."""

import comfy.ldm.modules.attention
import torch
from comfy.cli_args import args
from torch import Tensor

from ...ltx_core.kernels.attention import attend, scaled_dot_product
from ...ltx_core.kernels.flash import flash_name
from ...ltx_core.transformer.attention import AttentionFunction

FLAGS = ("use_sage_attention", "use_flash_attention", "use_split_cross_attention", "use_quad_cross_attention")


def chosen_attention() -> AttentionFunction:
    """The fastest that is installed, unless ComfyUI was started with a flag that asks for one."""
    if chosen_flag() is not None:
        return through_comfyui
    return scaled_dot_product if getattr(args, "use_pytorch_cross_attention", False) else attend


def installed_name(device: torch.device, tokens: int) -> str | None:
    """What computed the self-attention of so many tokens in place of PyTorch because it is installed, for people."""
    return flash_name(device, tokens) if chosen_attention() is attend else None


def chosen_flag() -> str | None:
    """The flag, as it stands on the command line."""
    flag = next((flag for flag in FLAGS if getattr(args, flag, False)), None)
    return None if flag is None else f"--{flag.replace('_', '-')}"


def through_comfyui(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **options) -> Tensor:
    """ComfyUI's `optimized_attention` on heads that are already split: (B, H, T, D) in and out.

    With a mask PyTorch's own: of the others some leave a mask out without a word.
    """
    if mask is not None:
        return scaled_dot_product(q, k, v, mask)
    return comfy.ldm.modules.attention.optimized_attention(
        q, k, v, q.shape[1], mask=None, skip_reshape=True, skip_output_reshape=True, **options
    )
