"""Which guidance passes share which work.

Passes that have had the same inputs so far are one *row* of the batch.  A row splits where its passes begin to
differ: at text attention when their contexts differ, at audio-video attention when one of them is isolated, at
self-attention when a block is perturbed in one of them.  The perturbed pass therefore costs nothing before its first
perturbed block, and this sharing is exact: the shared rows are the same numbers.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .inputs import GuidancePass

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class BlockPlan:
    """What one block does with the rows that enter it.

    Each `split_*` lists, for every row after that point, the row it comes from; None when no row splits.
    `contexts` names the context of each row (None: one pass, one context), `joined` the rows that have audio-video
    attention (None: all), which are the first ones, and `joined_before` where these come from, as `split_cross` does.
    """

    split_self: tuple[int, ...] | None
    video_bypass: tuple[bool, ...]
    audio_bypass: tuple[bool, ...]
    split_text: tuple[int, ...] | None
    contexts: tuple[int, ...] | None
    split_cross: tuple[int, ...] | None
    joined: tuple[int, ...] | None
    joined_before: tuple[int, ...] | None


@dataclass(frozen=True)
class Plan:
    """The blocks' plans, the distinct contexts (by the first pass that has each), and each pass's final row."""

    blocks: tuple[BlockPlan, ...]
    context_passes: tuple[int, ...]
    row_of_pass: tuple[int, ...]


@dataclass(frozen=True)
class _Kind:
    """What a plan asks of a pass; its context is a number, the same for passes that share one."""

    context: int
    perturbed_video_blocks: frozenset[int]
    perturbed_audio_blocks: frozenset[int]
    isolated: bool


def plan_passes(passes: Sequence[GuidancePass], num_layers: int) -> Plan:
    """Plans one evaluation of `num_layers` blocks for all passes together."""
    context_passes: list[int] = []
    context_of: list[int] = []
    for number, guidance_pass in enumerate(passes):
        same = [i for i, first in enumerate(context_passes) if _same_contexts(passes[first], guidance_pass)]
        if not same:
            context_passes.append(number)
        context_of.append(same[0] if same else len(context_passes) - 1)
    kinds = [
        _Kind(context, p.perturbed_video_blocks, p.perturbed_audio_blocks, p.isolated)
        for context, p in zip(context_of, passes, strict=True)
    ]
    return _plan(tuple(kinds), tuple(context_passes), num_layers)


@lru_cache(maxsize=16)  # the steps of a stage have the same plan, which takes milliseconds
def _plan(passes: tuple[_Kind, ...], context_passes: tuple[int, ...], num_layers: int) -> Plan:
    # Passes that share a context stay neighbours, also after isolated ones have moved to the end.
    isolated_contexts = {p.context for p in passes if p.isolated}
    order = sorted(range(len(passes)), key=lambda i: (passes[i].context in isolated_contexts, passes[i].context))
    rows: Rows = (tuple(order),)
    blocks = []
    for layer in range(num_layers):
        perturbed = [(layer in p.perturbed_video_blocks, layer in p.perturbed_audio_blocks) for p in passes]
        rows, split_self = _split(rows, lambda i, perturbed=perturbed: perturbed[i])
        bypass = [perturbed[row[0]] for row in rows]
        rows, split_text = _split(rows, lambda i: passes[i].context)
        contexts = tuple(passes[row[0]].context for row in rows)
        before = tuple(range(len(rows)))
        rows, split_cross = _split(rows, lambda i: passes[i].isolated, sort=True)
        joined = tuple(number for number, row in enumerate(rows) if not passes[row[0]].isolated)
        joined_before = tuple((split_cross or before)[number] for number in joined)
        blocks.append(
            BlockPlan(
                split_self,
                tuple(video for video, _ in bypass),
                tuple(audio for _, audio in bypass),
                split_text,
                contexts if len(passes) > 1 else None,
                split_cross,
                joined if len(joined) < len(rows) else None,
                None if joined_before == before else joined_before,
            )
        )
    row_of_pass = tuple(next(n for n, row in enumerate(rows) if i in row) for i in range(len(passes)))
    return Plan(tuple(blocks), context_passes, row_of_pass)


def _same_contexts(one: GuidancePass, other: GuidancePass) -> bool:
    return one.video_context is other.video_context and one.audio_context is other.audio_context


def _split(rows: Rows, key: Callable[[int], Hashable], *, sort: bool = False) -> tuple[Rows, tuple[int, ...] | None]:
    """Splits each row into runs of passes with equal keys; the second result is None when nothing splits.

    With `sort` the rows come ordered by key, so that those of the lowest key are the first ones of the batch.
    """
    pieces = []
    for origin, row in enumerate(rows):
        for value in dict.fromkeys(key(i) for i in row):
            pieces.append((value, origin, tuple(i for i in row if key(i) == value)))
    if sort:
        pieces.sort(key=lambda piece: piece[0])
    origins = tuple(origin for _, origin, _ in pieces)
    unchanged = origins == tuple(range(len(rows)))
    return tuple(row for _, _, row in pieces), None if unchanged else origins
