"""ComfyUI's packed weights: how they lie in a file, and the numbers that they stand for.

`nvfp4`: two E2M1 numbers a byte, the first in the high half; an e4m3 scale for 16 columns, one number for the layer.
`mxfp8`: e4m3 numbers, a power of two (e8m0) for 32 columns.  `int8_tensorwise`: int8 numbers times one scale, or one a
row; with `convrot` groups of columns were multiplied with a Hadamard matrix first.

Block formats are padded to whole tiles, and their scales lie in the order in which NVIDIA's tensor cores read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .safetensors_file import TensorInfo

Shape = tuple[int, ...]
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_NUMBERS = ("F32", "BF16", "F16")
_INT8 = "int8_tensorwise"


@dataclass(frozen=True)
class _Blocks:
    """A format with a scale for each `size` columns: dtypes by the names that headers have for them."""

    size: int
    per_byte: int
    weight: str
    scale: str
    scale_dtype: torch.dtype
    layer_scale: bool


_BLOCKS = {
    "nvfp4": _Blocks(16, 2, "U8", "F8_E4M3", torch.float8_e4m3fn, True),
    "mxfp8": _Blocks(32, 1, "F8_E4M3", "F8_E8M0", torch.float8_e8m0fnu, False),
}
PACKED = (*_BLOCKS, _INT8)


def unpacked_shape(format: str, stored: Shape) -> Shape:
    """The shape of the matrix in a weight's storage, with the padding of block formats."""
    blocks = _BLOCKS.get(format)
    return (*stored[:-1], stored[-1] * blocks.per_byte) if blocks and stored else tuple(stored)


def stores(format: str, stored: Shape, shape: Shape) -> bool:
    """Whether a storage of that shape is what the format makes of a matrix of `shape`."""
    if format not in _BLOCKS:
        return tuple(stored) == tuple(shape)
    size = _BLOCKS[format].size
    return unpacked_shape(format, stored) == tuple(_up(side, size) for side in shape)


def unreadable(format: str, parts: Mapping[str, TensorInfo], options: Mapping[str, Any]) -> str:
    """What of a packed layer is not as its format has it: empty if all is.  `parts` by name below the layer."""
    weight, scale = parts["weight"], parts.get("weight_scale")
    if "pre_quant_scale" in parts:
        return "with a scale for its input (pre_quant_scale)"
    if format == _INT8:
        return _unreadable_int8(weight, scale, options)
    blocks = _BLOCKS[format]
    rows, columns = unpacked_shape(format, weight.shape) if len(weight.shape) == 2 else (0, 0)
    if weight.dtype != blocks.weight or not rows or rows % blocks.size or columns % blocks.size:
        return f"with weights of type {weight.dtype} and shape {weight.shape}"
    if scale is None:
        return "without scales (weight_scale)"
    expected = (_up(rows, 128), _up(columns // blocks.size, 4))
    if scale.dtype not in (blocks.scale, "U8") or scale.shape != expected:
        return (
            f"with block scales of type {scale.dtype} and shape {scale.shape} instead of {blocks.scale} and {expected}"
        )
    one = parts.get("weight_scale_2")
    if blocks.layer_scale and (one is None or one.count != 1 or one.dtype not in _NUMBERS):
        found = "without a scale" if one is None else f"with a scale of type {one.dtype} and shape {one.shape}"
        return f"{found} for the layer (weight_scale_2)"
    return ""


def _unreadable_int8(weight: TensorInfo, scale: TensorInfo | None, options: Mapping[str, Any]) -> str:
    if weight.dtype != "I8" or len(weight.shape) != 2:
        return f"with weights of type {weight.dtype} and shape {weight.shape}"
    if scale is None:
        return "without a scale (weight_scale)"
    rows, columns = weight.shape
    if scale.dtype not in _NUMBERS or (scale.count != 1 and scale.shape != (rows, 1)):
        return f"with a scale of type {scale.dtype} and shape {scale.shape}"
    group = rotated_group(options)
    if group is None:
        return ""
    if group < 4 or group & (group - 1) or group.bit_length() % 2 == 0 or columns % group:
        return f"with columns rotated in groups of {group}"
    return ""


def rotated_group(options: Mapping[str, Any]) -> int | None:
    """How many columns `convrot` rotates together, by the layer's JSON table; None without it, 0 if unreadable."""
    nested = options.get("params")
    options = {**(nested if isinstance(nested, Mapping) else {}), **options}
    if not options.get("convrot", False):
        return None
    group = options.get("convrot_groupsize", 256)
    return group if isinstance(group, int) else 0


def unpack(format: str, parts: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    """The matrix of a layer in float32, with its padding.  `parts` by name below the layer; see `unreadable`."""
    weight, scale = parts["weight"], parts["weight_scale"]
    if format == _INT8:
        matrix = weight.float() * scale.float()
        group = rotated_group(options)
        return matrix if group is None else _rotated(matrix, group)
    blocks = _BLOCKS[format]
    if format == "nvfp4":
        numbers = torch.tensor([*_E2M1, *(-number for number in _E2M1)], device=weight.device)
        weight = numbers[torch.stack((weight >> 4, weight & 15), -1).flatten(-2).int()]
    rows, columns = weight.shape
    factors = _in_rows(scale.view(blocks.scale_dtype).float(), rows, columns // blocks.size)
    if blocks.layer_scale:
        factors = factors * parts["weight_scale_2"].float().reshape(())
    return (weight.float().unflatten(-1, (-1, blocks.size)) * factors[..., None]).flatten(-2)


def _in_rows(tiled: Tensor, rows: int, columns: int) -> Tensor:
    """Scales as a matrix, from tiles of 128x4 in which row r stands at (r % 32, r // 32)."""
    tiles = tiled.reshape(_up(rows, 128) // 128, _up(columns, 4) // 4, 32, 4, 4)
    return tiles.permute(0, 3, 2, 1, 4).reshape(_up(rows, 128), _up(columns, 4))[:rows, :columns]


def _rotated(matrix: Tensor, group: int) -> Tensor:
    """Groups of columns times the regular Hadamard matrix, which is its own inverse."""
    four = 1 - 2 * torch.eye(4, device=matrix.device).flip(0)
    hadamard = torch.ones(1, 1, device=matrix.device)
    while len(hadamard) < group:
        hadamard = torch.kron(hadamard, four) / 2
    return (matrix.unflatten(-1, (-1, group)) @ hadamard).flatten(-2)


def _up(side: int, step: int) -> int:
    return -(-side // step) * step
