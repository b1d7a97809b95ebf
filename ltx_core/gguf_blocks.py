"""The packed numbers of GGUF files, expanded in plain PyTorch on whatever device they lie.

A packed weight is a row of blocks for each row of the matrix: so many numbers in so many bytes, each block with scales
of its own.  All arithmetic is float32; the result is rounded once, to the dtype that is asked for.  In float32 it is
the `gguf` package's own expansion bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

# Numbers that are expanded together: bounds the memory that intermediate results take, so many bytes for each.
_TOGETHER = 2**24
_BYTES = 18

# Of a large weight so many runs of so many numbers are looked at.
_RUNS = 16
_RUN_LENGTH = 8192

# What 4-bit numbers of the "non-linear" types stand for.
_NON_LINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True)
class BlockType:
    """One kind of block by GGML's name: `size` numbers in `bytes` bytes; `unpack` makes float32 of (N, bytes) uint8."""

    name: str
    size: int
    bytes: int
    unpack: Callable[[Tensor], Tensor]

    def expand(self, packed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """uint8 (..., k * bytes) -> (..., k * size) in `dtype`, on the same device."""
        *rows, row_bytes = packed.shape
        blocks = packed.reshape(-1, self.bytes)
        expanded = torch.empty(blocks.shape[0], self.size, dtype=dtype, device=packed.device)
        step = max(1, _TOGETHER // self.size)
        for start in range(0, blocks.shape[0], step):
            expanded[start : start + step] = self.unpack(blocks[start : start + step]).view(-1, self.size)
        return expanded.view(*rows, row_bytes // self.bytes * self.size)

    def room(self, count: int, dtype: torch.dtype) -> int:
        """Bytes that expanding `count` numbers takes at most, the result included."""
        return count * dtype.itemsize + min(count, _TOGETHER) * _BYTES

    def samples(self, packed: Tensor) -> Tensor:
        """Numbers of a packed tensor to look at, in float32: all of a small one, runs of a large one as rows."""
        blocks = packed.reshape(-1, self.bytes)
        run = _RUN_LENGTH // self.size
        last = len(blocks) - run
        if last < (_RUNS - 1) * run:
            return self.expand(packed)
        runs = [blocks[last * index // (_RUNS - 1) :][:run].flatten() for index in range(_RUNS)]
        return self.expand(torch.stack(runs))


@cache
def _constant(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Kept on the device: each copy to a GPU would wait for it."""
    return torch.tensor(values, dtype=dtype, device=device)


def _half(blocks: Tensor, place: int) -> Tensor:
    """The float16 number at that byte of each block, (N, 1) in float32."""
    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def _shifted(values: Tensor, *shifts: int) -> Tensor:
    """Bytes (N, groups, width) moved right by each of the shifts: (N, groups, shifts, width)."""
    by = _constant(shifts, torch.uint8, values.device)
    return values.unsqueeze(-2) >> by.unsqueeze(-1)


def _nibbles(values: Tensor, width: int) -> Tensor:
    """Of every `width` bytes the low halves, then the high ones: (N, 2 * bytes)."""
    return (_shifted(values.unflatten(1, (-1, width)), 0, 4) & 15).flatten(1)


def _high_bits(blocks: Tensor, place: int) -> Tensor:
    """32 bits, the lowest of the first byte first: (N, 32)."""
    by = _constant(tuple(range(8)), torch.uint8, blocks.device)
    return ((blocks[:, place : place + 4].unsqueeze(-1) >> by) & 1).flatten(1)


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].contiguous().view(torch.int8).float() * _half(blocks, 0)


def _q4_0(blocks: Tensor) -> Tensor:
    return (_nibbles(blocks[:, 2:], 16).float() - 8) * _half(blocks, 0)


def _q4_1(blocks: Tensor) -> Tensor:
    return _nibbles(blocks[:, 4:], 16).float() * _half(blocks, 0) + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 6:], 16) | (_high_bits(blocks, 2) << 4)
    return (numbers.float() - 16) * _half(blocks, 0)


def _q5_1(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 8:], 16) | (_high_bits(blocks, 4) << 4)
    return numbers.float() * _half(blocks, 0) + _half(blocks, 2)


def _iq4_nl(blocks: Tensor) -> Tensor:
    return _non_linear(_nibbles(blocks[:, 2:], 16)) * _half(blocks, 0)


def _iq4_xs(blocks: Tensor) -> Tensor:
    low = (blocks[:, 4:8].unsqueeze(-1) >> _constant((0, 4), torch.uint8, blocks.device)).flatten(1)
    by = _constant((0, 2, 4, 6), torch.uint8, blocks.device)
    high = (blocks[:, 2:4].unsqueeze(-1) >> by).flatten(1)
    scales = _half(blocks, 0) * (((low & 15) | ((high & 3) << 4)).float() - 32)
    return _scaled(_non_linear(_nibbles(blocks[:, 8:], 16)), scales)


def _q2_k(blocks: Tensor) -> Tensor:
    scales = _half(blocks, 80) * (blocks[:, :16] & 15).float()
    offsets = _half(blocks, 82) * (blocks[:, :16] >> 4).float()
    numbers = (_shifted(blocks[:, 16:80].unflatten(1, (2, 32)), 0, 2, 4, 6) & 3).flatten(1)
    return _scaled(numbers.float(), scales, offsets)


def _q3_k(blocks: Tensor) -> Tensor:
    low = _shifted(blocks[:, 96:104].unsqueeze(1), 0, 4).flatten(1)
    high = _shifted(blocks[:, 104:108].unsqueeze(1), 0, 2, 4, 6).flatten(1)
    scales = _half(blocks, 108) * (((low & 15) | ((high & 3) << 4)).float() - 32)
    numbers = (_shifted(blocks[:, 32:96].unflatten(1, (2, 32)), 0, 2, 4, 6) & 3).flatten(1)
    # Four less where the bit is not set.
    bits = (_shifted(blocks[:, :32].unsqueeze(1), *range(8)) & 1).flatten(1)
    return _scaled(numbers.float() - ((bits ^ 1) << 2).float(), scales)


def _q4_k(blocks: Tensor) -> Tensor:
    return _scaled(_nibbles(blocks[:, 16:], 32).float(), *_scales_and_offsets(blocks))


def _q5_k(blocks: Tensor) -> Tensor:
    bits = (_shifted(blocks[:, 16:48].unsqueeze(1), *range(8)) & 1).flatten(1)
    numbers = _nibbles(blocks[:, 48:], 32) | (bits << 4)
    return _scaled(numbers.float(), *_scales_and_offsets(blocks))


def _q6_k(blocks: Tensor) -> Tensor:
    scales = _half(blocks, 208) * blocks[:, 192:208].contiguous().view(torch.int8).float()
    low = _nibbles(blocks[:, :128], 64)
    high = (_shifted(blocks[:, 128:192].unflatten(1, (2, 32)), 0, 2, 4, 6) & 3).flatten(1)
    return _scaled((low | (high << 4)).float() - 32, scales)


def _scales_and_offsets(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of Q4_K and Q5_K: eight of each, 6 bits wide, in twelve bytes after the two float16 numbers."""
    scales, offsets, rest = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scale = torch.cat([scales & 63, (rest & 15) | ((scales >> 2) & 48)], 1)
    offset = torch.cat([offsets & 63, (rest >> 4) | ((offsets >> 2) & 48)], 1)
    return _half(blocks, 0) * scale.float(), _half(blocks, 2) * offset.float()


def _scaled(numbers: Tensor, scales: Tensor, offsets: Tensor | None = None) -> Tensor:
    """(N, size) numbers times the scale of their part of the block, (N, parts), less its offset."""
    parts = numbers.unflatten(1, (scales.shape[1], -1))
    scaled = parts * scales.unsqueeze(-1)
    return (scaled if offsets is None else scaled - offsets.unsqueeze(-1)).flatten(1)


def _non_linear(nibbles: Tensor) -> Tensor:
    return _constant(_NON_LINEAR, torch.float32, nibbles.device)[nibbles.int()]


BLOCK_TYPES = {
    kind.name: kind
    for kind in (
        BlockType("Q4_0", 32, 18, _q4_0),
        BlockType("Q4_1", 32, 20, _q4_1),
        BlockType("Q5_0", 32, 22, _q5_0),
        BlockType("Q5_1", 32, 24, _q5_1),
        BlockType("Q8_0", 32, 34, _q8_0),
        BlockType("Q2_K", 256, 84, _q2_k),
        BlockType("Q3_K", 256, 110, _q3_k),
        BlockType("Q4_K", 256, 144, _q4_k),
        BlockType("Q5_K", 256, 176, _q5_k),
        BlockType("Q6_K", 256, 210, _q6_k),
        BlockType("IQ4_NL", 32, 18, _iq4_nl),
        BlockType("IQ4_XS", 256, 136, _iq4_xs),
    )
}
