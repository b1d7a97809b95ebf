"""How a model's blocks are run: one after another, unless execution hands in another runner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from ..progress import SILENT, Reporter
from .arrangement import IN_ORDER, Arrangement
from .block import StreamConditioning
from .pass_sharing import BlockPlan

# Video and audio (R, T, D); None for a modality that is left out.
Streams = tuple[Tensor | None, Tensor | None]
Conditionings = tuple[StreamConditioning | None, StreamConditioning | None]


class BlockRunner(Protocol):
    """Takes both streams through all blocks; it may raise between two of them, as when the user cancels."""

    def __call__(
        self,
        blocks: nn.ModuleList,
        plans: Sequence[BlockPlan],
        streams: Streams,
        conditionings: Conditionings,
        arrangement: Arrangement = IN_ORDER,
    ) -> Streams: ...


@dataclass(frozen=True)
class InOrder:
    """The plain loop, which asks `reporter` before each block whether to go on."""

    reporter: Reporter = SILENT

    def __call__(
        self,
        blocks: nn.ModuleList,
        plans: Sequence[BlockPlan],
        streams: Streams,
        conditionings: Conditionings,
        arrangement: Arrangement = IN_ORDER,
    ) -> Streams:
        for block, plan in zip(blocks, plans, strict=True):
            self.reporter.check_cancel()
            streams = block(*streams, *conditionings, plan, arrangement)
        return streams


one_after_another: BlockRunner = InOrder()
