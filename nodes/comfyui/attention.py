"""The attention that the user chose for ComfyUI, in the engine's terms."""

import comfy.ldm.modules.attention
from comfy.cli_args import args
from torch import Tensor

from ...ltx_core.transformer.attention import AttentionFunction, scaled_dot_product

FLAGS = ("use_sage_attention", "use_flash_attention", "use_split_cross_attention", "use_quad_cross_attention")


def chosen_attention() -> AttentionFunction:
    """PyTorch's attention, unless ComfyUI was started with a flag that asks for another one."""
    return through_comfyui if any(getattr(args, flag, False) for flag in FLAGS) else scaled_dot_product


def through_comfyui(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **options) -> Tensor:
    """ComfyUI's `optimized_attention` on heads that are already split: (B, H, T, D) in and out."""
    return comfy.ldm.modules.attention.optimized_attention(
        q, k, v, q.shape[1], mask=mask, skip_reshape=True, skip_output_reshape=True, **options
    )
