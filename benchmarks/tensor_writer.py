"""Writes tensors to files as they are drawn, on the GPU if there is one: no file ever lies in memory."""

import json
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

THREADS = 8
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float8_e4m3fn: "F8_E4M3", torch.uint8: "U8"}

Draw = Callable[[torch.Size, str], Tensor]
# Name in the file, shape, dtype, and how to draw it.
Entry = tuple[str, torch.Size, torch.dtype, Draw]


def write_safetensors(path: Path, entries: list[Entry], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Wide elements first, so that each tensor is aligned to its own.
    entries.sort(key=lambda entry: -entry[2].itemsize)
    header, end = {"__metadata__": metadata}, 0
    for name, shape, dtype, _ in entries:
        size = shape.numel() * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    torch.manual_seed(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.flush()
        start = 8 + len(text)
        write_tensors(file.fileno(), (
            (start + header[name]["data_offsets"][0], draw(shape, DEVICE).to(dtype))
            for name, shape, dtype, draw in entries
        ))  # fmt: skip


def write_tensors(descriptor: int, tensors: Iterable[tuple[int, Tensor]]) -> None:
    """Writes each at its offset, in whatever order, and draws ahead of the disk by a few only."""
    with ThreadPoolExecutor(THREADS) as pool:
        written: deque[Future] = deque()
        for offset, tensor in tensors:
            values = tensor.contiguous().view(-1).view(torch.uint8)
            written.append(pool.submit(_write_at, descriptor, values, offset))
            while len(written) > 2 * THREADS:
                written.popleft().result()
        for part in written:
            part.result()


def _write_at(descriptor: int, values: Tensor, offset: int) -> None:
    data = values.cpu().numpy().data
    while len(data):
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
