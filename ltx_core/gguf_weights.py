"""A component's weights from a GGUF file: which of them may stay packed, and plain numbers for the others."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from .checkpoint import Checkpoint, Component
from .gguf_blocks import BlockType
from .gguf_file import PackedInfo
from .quantization import LayerQuantization, check_supported


def block_types(checkpoint: Checkpoint, component: Component) -> dict[str, BlockType]:
    """Packed matrices by their module name, such as "layers.0.mlp.up_proj.weight": layers can expand these at use."""
    return {
        name: info.blocks
        for name, info in checkpoint.tensors(component).items()
        if isinstance(info, PackedInfo)
        and info.blocks is not None
        and name.endswith(".weight")
        and len(info.shape) == len(info.packed_shape) == 2
        and info.shape[0] == info.packed_shape[0]
    }


def expanded(
    checkpoint: Checkpoint,
    component: Component,
    state_dict: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    keep: Collection[str] = (),
) -> dict[str, Tensor]:
    """`state_dict` with packed tensors as plain ones of `dtype`, but for those named in `keep`; others stay.

    CheckpointError for blocks of a kind that cannot be expanded.
    """
    infos = checkpoint.tensors(component)
    plain = dict(state_dict)
    for name, tensor in state_dict.items():
        info = infos.get(name)
        if name not in keep and isinstance(info, PackedInfo):
            check_supported({name: LayerQuantization(info.format, False, False)}, checkpoint.path)
            plain[name] = info.blocks.expand(tensor, dtype).view(info.shape)
    return plain
