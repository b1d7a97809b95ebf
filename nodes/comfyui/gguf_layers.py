"""ComfyUI's layers with weights that stay packed as in a GGUF file, and are expanded at each use.

ComfyUI moves, streams, pins and evicts the packed bytes: a uint8 parameter of rows of blocks.  Whatever changes a
weight works on the expanded one, and so never stands in ComfyUI's `weight_function` or among its patches.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ltx_core.gguf_blocks import BlockType
from ...ltx_core.kernels.linear import linear_gelu
from .layers import cast


@cache
def with_blocks(ops: type) -> type:
    """`ops` with linear layers and embeddings whose weight may be packed (see `prepare`)."""

    class Operations(ops):
        class Linear(_LinearInBlocks, ops.Linear):
            pass

        class Embedding(_EmbeddingInBlocks, ops.Embedding):
            pass

    return Operations


class InBlocks:
    """Mixed into a layer.  `block_type` None: its weight is plain; `expanded_functions` change an expanded one."""

    block_type: BlockType | None = None
    expanded_functions: tuple[Callable[[Tensor], Tensor], ...] = ()


class _LinearInBlocks(InBlocks):
    def fixed_weights(self) -> tuple[Tensor, ...] | None:
        return super().fixed_weights() if self.block_type is None else None

    def forward_comfy_cast_weights(self, x: Tensor) -> Tensor:
        return super().forward_comfy_cast_weights(x) if self.block_type is None else F.linear(x, *self._expanded(x))

    def forward_gelu(self, x: Tensor) -> Tensor:
        return super().forward_gelu(x) if self.block_type is None else linear_gelu(x, *self._expanded(x))

    def _expanded(self, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in the dtype and on the device of `like`, neither of them in a buffer of ComfyUI's."""
        with cast(self, like, torch.uint8, like.dtype) as (packed, bias):
            weight = self.block_type.expand(packed, like.dtype)
            bias = None if bias is None else bias.clone()
        for function in self.expanded_functions:
            weight = function(weight)
        return weight, bias


class _EmbeddingInBlocks(InBlocks):
    def forward_comfy_cast_weights(self, ids: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        if self.block_type is None:
            return super().forward_comfy_cast_weights(ids, out_dtype)
        with cast(self, ids, torch.uint8) as (packed, _):
            return self.block_type.expand(F.embedding(ids, packed), out_dtype or torch.float32)


def expanding_bytes(module: nn.Module, dtype: torch.dtype) -> float:
    """What expanding the largest weight takes, and what a LoRA makes of it; 0 without weights in blocks."""
    layers = [m for m in module.modules() if isinstance(m, _LinearInBlocks) and m.block_type is not None]
    numbers = max((layer.in_features * layer.out_features for layer in layers), default=0)
    return max((layer.block_type.room(numbers, dtype) for layer in layers), default=0) + numbers * dtype.itemsize


def prepare(root: nn.Module, packed: Mapping[str, tuple[BlockType, torch.Size]]) -> None:
    """Readies layers below `root` for the packed weights of these names, with their kind and their shape in bytes."""
    for name, (blocks, shape) in packed.items():
        layer = root.get_submodule(name.removesuffix(".weight"))
        layer.block_type = blocks
        layer.weight = nn.Parameter(torch.empty(shape, dtype=torch.uint8, device="meta"), requires_grad=False)
