"""The transformer in pieces, for when memory does not hold all guidance passes at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..kernels.activation import Activation
from ..transformer.arrangement import IN_ORDER, Arrangement
from ..transformer.inputs import GuidancePass, ModalityInput
from ..transformer.model import AVTransformer, Velocities
from ..transformer.runner import BlockRunner, one_after_another

MOST_CHUNKS = 16


@dataclass(frozen=True)
class TokenChunks(Arrangement):
    """Feed-forward networks work through their tokens in `count` pieces: less memory, the same up to rounding."""

    count: int

    def feed_forward(self, network: Callable[[Tensor | Activation], Tensor], x: Activation) -> Tensor:
        tokens = x.tensor
        count = min(self.count, tokens.shape[-2])
        if count <= 1:
            return network(x)
        result = torch.empty_like(tokens)
        for source, target in zip(tokens.chunk(count, dim=-2), result.chunk(count, dim=-2), strict=True):
            target.copy_(network(source))
        return result


@dataclass(frozen=True)
class Pieces:
    """How one evaluation is cut up: `together` passes at once, feed-forward networks in `chunks` pieces of tokens."""

    together: int
    chunks: int = 1

    def smaller(self) -> "Pieces | None":
        """The next step down in memory: half the passes until one is left, then more chunks; None at the end."""
        if self.together > 1:
            return replace(self, together=(self.together + 1) // 2)
        if self.chunks < MOST_CHUNKS:
            return replace(self, chunks=self.chunks * 4)
        return None


# Told after a failure what was tried and what comes next; returns whether to try again, never with True for None.
Retry = Callable[[BaseException, Pieces, Pieces | None], bool]


def _never(error: BaseException, tried: Pieces, smaller: Pieces | None) -> bool:
    return False


def group_passes(passes: Sequence[GuidancePass], together: int) -> list[list[int]]:
    """Positions of the passes that run together: as few groups as `together` allows, of nearly equal size.

    Neighbours share most: the perturbed pass is the prompt's own up to its first perturbed block, and the isolated pass
    still has the prompt's contexts, of picture and sound or of what is there.  So cond and perturbed come first, then
    isolated, then negative.
    """
    first = passes[0]

    def kinship(index: int) -> tuple[bool, bool]:
        own = passes[index]
        other = own.video_context is not first.video_context or own.audio_context is not first.audio_context
        return other, own.isolated

    order = sorted(range(len(passes)), key=kinship)
    count = -(-len(order) // max(1, together))
    size = -(-len(order) // count)
    return [order[start : start + size] for start in range(0, len(order), size)]


class PiecewiseModel:
    """A transformer that samplers call as usual, run in `pieces`.

    When an evaluation raises, `retry` decides: the same evaluation is then made again from its start with the next
    smaller pieces, which stay for the rest of the run.  Inputs are not written, so nothing of the run changes.
    """

    def __init__(self, model: AVTransformer, pieces: Pieces, retry: Retry = _never):
        self.model, self.pieces, self.retry = model, pieces, retry
        self.params, self.rope_tables = model.params, model.rope_tables
        self.transformer_blocks = model.transformer_blocks

    def __call__(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner = one_after_another,
    ) -> list[Velocities]:
        """As `AVTransformer.forward`."""
        while True:
            # More passes than there are need no smaller steps on the way down.
            self.pieces = replace(self.pieces, together=min(self.pieces.together, len(passes)))
            try:
                return self._run(video, audio, passes, run_blocks)
            except BaseException as error:
                if not self.retry(error, self.pieces, self.pieces.smaller()):
                    raise
            # Outside of the handler: there the error would keep the tensors of its frames alive.
            self.pieces = self.pieces.smaller()

    def _run(self, video, audio, passes: Sequence[GuidancePass], run_blocks: BlockRunner) -> list[Velocities]:
        results: list[Velocities | None] = [None] * len(passes)
        arrangement = IN_ORDER if self.pieces.chunks == 1 else TokenChunks(self.pieces.chunks)
        run_blocks = partial(run_blocks, arrangement=arrangement)
        for group in group_passes(passes, self.pieces.together):
            velocities = self.model(video, audio, [passes[i] for i in group], run_blocks)
            for index, velocity in zip(group, velocities, strict=True):
                results[index] = velocity
        return results
