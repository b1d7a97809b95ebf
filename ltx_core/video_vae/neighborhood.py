"""Neighbourhood attention over frames, height and width, in plain PyTorch.

Each token attends to the box of tokens around it; at the grid's borders the box is moved inward, so that every token
sees as many.  Neighbouring queries are taken together with all keys that one of them sees, and a mask leaves out the
rest; such blocks of queries that look at their surroundings in the same way share the mask, and go to attention as one
batch.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ..transformer.attention import AttentionFunction
from .diffusion_params import Extent

# Keys of a block times its queries: large blocks share keys well, but a mask lets most of a very large one go to waste.
MOST_PAIRS = 2**22
# Keys that blocks hold together when they go to attention at once, times heads and channels.
_MOST_GATHERED = 2**27


@dataclass(frozen=True)
class _Span:
    """Consecutive queries of one axis: where they lie, where the keys lie that they see, and, from there, where the
    window of each begins."""

    queries: slice
    keys: slice
    windows: tuple[int, ...]


def neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, kernel: Extent, attention: AttentionFunction) -> Tensor:
    """Queries, keys and values (B, T, H, W, heads, D) -> (B, T, H, W, heads, D).

    kernel: tokens along frames, height and width that each one sees; at most the grid's own.
    """
    grid = tuple(q.shape[1:4])
    kernel = tuple(map(min, kernel, grid))
    spans = [_spans(*axis) for axis in zip(grid, kernel, _block(grid, kernel), strict=True)]
    alike = defaultdict(list)
    for block in product(*spans):
        alike[tuple(span.windows for span in block)].append(block)
    out = torch.empty_like(q)
    for windows, blocks in alike.items():
        mask = _mask(windows, kernel, q)
        keys = mask.shape[-1] * math.prod(k.shape[4:]) * k.shape[0]
        together = max(1, _MOST_GATHERED // keys)
        for first in range(0, len(blocks), together):
            part = blocks[first : first + together]
            inputs = (_gather(x, part, of) for x, of in ((q, "queries"), (k, "keys"), (v, "keys")))
            _scatter(attention(*inputs, mask), part, out)
    return out


def _block(grid: Extent, kernel: Extent) -> Extent:
    """How many queries are taken together along each axis: the whole grid, halved where it is longest beside its kernel
    until the pairs of queries and keys are few enough."""
    size = list(grid)

    def pairs() -> int:
        seen = (min(own + around - 1, whole) for own, around, whole in zip(size, kernel, grid, strict=True))
        return math.prod(size) * math.prod(seen)

    while pairs() > MOST_PAIRS and max(size) > 1:
        axis = max(range(3), key=lambda i: (size[i] > 1, size[i] / kernel[i]))
        size[axis] = -(-size[axis] // 2)
    return tuple(size)


def _spans(length: int, kernel: int, block: int) -> list[_Span]:
    starts = [min(max(place - kernel // 2, 0), length - kernel) for place in range(length)]
    spans = []
    for first in range(0, length, block):
        own = starts[first : first + block]
        keys = slice(own[0], own[-1] + kernel)
        spans.append(_Span(slice(first, first + len(own)), keys, tuple(start - own[0] for start in own)))
    return spans


def _mask(windows: tuple[tuple[int, ...], ...], kernel: Extent, like: Tensor) -> Tensor | None:
    """Additive mask (1, 1, queries, keys) in the dtype and on the device of `like`: 0 where a query sees a key."""
    seen = torch.ones(1, 1, dtype=torch.bool, device=like.device)
    for starts, width in zip(windows, kernel, strict=True):
        begin = torch.tensor(starts, device=like.device)[:, None]
        place = torch.arange(starts[-1] + width, device=like.device)
        own = (place >= begin) & (place < begin + width)
        seen = (seen[:, None, :, None] & own[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    # The lowest finite number rather than -inf, which some attention functions turn into NaN.
    mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(~seen, torch.finfo(like.dtype).min)[None, None]


def _gather(x: Tensor, blocks: list[tuple[_Span, ...]], of: str) -> Tensor:
    """The blocks' tokens of x (B, T, H, W, heads, D): (blocks * B, heads, tokens, D)."""
    parts = [x[(slice(None), *(getattr(span, of) for span in block))] for block in blocks]
    return torch.cat([part.flatten(1, 3).transpose(1, 2) for part in parts])


def _scatter(attended: Tensor, blocks: list[tuple[_Span, ...]], out: Tensor) -> None:
    """Puts (blocks * B, heads, tokens, D) to its places in `out`."""
    for part, block in zip(attended.chunk(len(blocks)), blocks, strict=True):
        place = out[(slice(None), *(span.queries for span in block))]
        place.copy_(part.transpose(1, 2).unflatten(1, place.shape[1:4]))
