"""Parts of a GGUF file as components: packed as they are, or expanded once, as the loader's weight dtype asks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...ltx_core.checkpoint import Checkpoint, Component
from ...ltx_core.errors import CheckpointError
from ...ltx_core.gguf_blocks import BlockType
from ...ltx_core.gguf_file import GgufFile
from ...ltx_core.gguf_weights import block_types, expanded
from ...ltx_core.quantization import dequantize
from .flags import given
from .layers import to_fp8

FP8_FLAGS = ("--fp8_e4m3fn-unet", "--fp8_e5m2-unet", "--fp8_e8m0fnu-unet")


def is_gguf(checkpoint: Checkpoint) -> bool:
    return any(isinstance(file, GgufFile) for file in checkpoint.files)


def weights_in_blocks(
    part: Component, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, BlockType]]:
    """A part's weights with matrices in blocks as they are, and the kinds of these by name; none in other files."""
    blocks = block_types(checkpoint, part)
    state = expanded(checkpoint, part, checkpoint.state_dict(part, tensors), keep=blocks)
    plain = {name: tensor for name, tensor in state.items() if name not in blocks}
    return {**dequantize(plain, source=checkpoint.path), **{name: state[name] for name in blocks}}, blocks


def fp8_weights(
    part: Component, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A part's weights with block matrices in float8, and their scales; one weight is expanded at a time."""
    blocks = block_types(checkpoint, part)
    weights: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    for name, tensor in checkpoint.state_dict(part, tensors).items():
        # Not by way of bfloat16: what is rounded twice may end a whole step beside.
        made, own = to_fp8(expanded(checkpoint, part, {name: tensor}), device)
        weights[name] = made[name] if own or name not in blocks else made[name].bfloat16()
        scales.update(own)
    return weights, scales


def note(checkpoint: Checkpoint, weight_dtype: str) -> str | None:
    """What the weight dtype, or a flag of ComfyUI's in its place, does with a GGUF file where that is not plain."""
    kinds = sorted({kind.name for kind in block_types(checkpoint, Component.TRANSFORMER).values()})
    if not kinds:
        return None
    if weight_dtype == "fp8":
        return (
            f"weight_dtype fp8 expands the {', '.join(kinds)} weights of this GGUF file and rounds them once more, to "
            "8 bits each; auto keeps them as they are."
        )
    if weight_dtype == "bf16":
        return "weight_dtype bf16 expands this GGUF file to 16 bits a weight in memory; auto keeps it as it is."
    flag = given(*FP8_FLAGS)
    return flag and f"ComfyUI was started with {flag}, but the weights of this GGUF file stay as they are."


def refuse(checkpoint: Checkpoint, what: str) -> None:
    """CheckpointError if the file is a GGUF, for parts that are not published as such."""
    if is_gguf(checkpoint):
        raise CheckpointError(
            f"{checkpoint.path} is a GGUF file, which LTX Duo reads for the transformer and the text encoder only. "
            f"Choose a .safetensors file of the {what}."
        )
