"""A transformer of the official layout as a GGUF file of random blocks, written as quickly as `random_model` writes.

Matrices with whole blocks in a row are packed, connectors included; vectors are float32, the rest bfloat16.
"""

import itertools
from pathlib import Path

import gguf
import numpy as np
import torch
from random_model import metadata_of_model, settings_of_model, transformer_entries
from tensor_writer import DEVICE, Draw, write_tensors
from torch import Tensor

from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES

# Root mean square of what a block of random bytes stands for, in units of its (first) float16 scale, which is drawn
# evenly from 0.5 to 1.5.  Q4_K: 6-bit scales times nibbles less OFFSET times 6-bit offsets, which makes the mean zero.
SIZES = {"Q8_0": 73.9 * 1.04, "Q4_K": 258.3 * 1.04}
OFFSET = 7.5


def write_gguf(path: Path, kind: str, *, small: bool, layers: int | None = None) -> None:
    """`kind`: Q8_0 or Q4_K."""
    settings = settings_of_model(small, layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "ltxv")
    for key, text in metadata_of_model(settings).items():
        writer.add_string(key, text)
    sizes, draws = [], []
    for name, shape, dtype, draw in transformer_entries(settings):
        form, draw = _form(name, shape, dtype, draw, kind)
        per_block, size = gguf.GGML_QUANT_SIZES[form]
        sizes.append(shape.numel() // per_block * size)
        # With a dtype that is not uint8 the shape is that of the numbers.
        writer.add_tensor_info(name, shape, np.dtype(np.float32), sizes[-1], form)
        draws.append((shape, draw))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    # The data begin after the header, each tensor where the one before it ends, all aligned.
    lengths = [gguf.GGUFWriter.ggml_pad(size, writer.data_alignment) for size in (path.stat().st_size, *sizes)]
    *offsets, end = itertools.accumulate(lengths)
    torch.manual_seed(0)
    with path.open("r+b") as file:
        file.truncate(end)
        write_tensors(file.fileno(), (
            (offset, draw(shape, DEVICE)) for offset, (shape, draw) in zip(offsets, draws, strict=True)
        ))  # fmt: skip


def _form(name: str, shape: torch.Size, dtype: torch.dtype, draw: Draw, kind: str) -> tuple:
    """What a tensor is stored as, and how to draw its bytes."""
    types = gguf.GGMLQuantizationType
    if len(shape) == 2 and name.endswith(".weight") and shape[1] % BLOCK_TYPES[kind].size == 0:
        return types[kind], lambda shape, device: _blocks(kind, shape, device)
    if len(shape) < 2 or dtype == torch.float32:
        return types.F32, lambda shape, device: draw(shape, device).float()
    return types.BF16, lambda shape, device: draw(shape, device).bfloat16()


def _blocks(kind: str, shape: torch.Size, device: str) -> Tensor:
    """Random blocks of numbers with the standard deviation of `random_model`'s matrices."""
    rows, columns = shape
    count = rows * columns // BLOCK_TYPES[kind].size
    blocks = torch.randint(0, 256, (count, BLOCK_TYPES[kind].bytes), dtype=torch.uint8, device=device)
    scales = (torch.rand(count, 1, device=device) + 0.5) * (0.7 * columns**-0.5 / SIZES[kind])
    if kind == "Q4_K":
        scales = torch.cat([scales, OFFSET * scales], 1)
    scales = scales.half().view(torch.uint8)
    blocks[:, : scales.shape[1]] = scales
    return blocks
