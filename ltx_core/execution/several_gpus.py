"""Stages on several GPUs of one machine, in one process: how an evaluation is divided, and the model that does it.

Several guidance passes are divided as passes, which changes no pass's numbers.  A single pass, as stage two has, is
divided by its tokens where it is long enough for that to pay.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from ..transformer.inputs import GuidancePass, ModalityInput
from ..transformer.model import AVTransformer, Velocities
from ..transformer.runner import BlockRunner, one_after_another
from .graphs import MOST_TOKENS, BlockGraphs
from .pass_split import PassSplit
from .replicas import Team, Turns
from .splitting import Pieces, PiecewiseModel, Retry
from .token_split import TokenSplit


class DividedModel:
    """A transformer that samplers call as usual; see `on_several_gpus`."""

    def __init__(self, team: Team, fewest_tokens: int = MOST_TOKENS):
        self._team, self._fewest_tokens = team, fewest_tokens
        model = team.model
        self.params, self.rope_tables, self.transformer_blocks = (
            model.params,
            model.rope_tables,
            model.transformer_blocks,
        )
        self._passes, self._tokens = PassSplit(team), TokenSplit(team)

    def __call__(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner = one_after_another,
    ) -> list[Velocities]:
        """As `AVTransformer.forward`; `run_blocks` is the first GPU's."""
        if len(passes) > 1:
            return self._passes(video, audio, passes, run_blocks)
        if self._divides_tokens(video):
            return self._tokens(video, audio, passes, run_blocks)
        return self._team.model(video, audio, passes, run_blocks)

    def alone(self) -> bool:
        """Whether one device works at most, now; see `Turns`."""
        return self._team.turns.alone()

    @property
    def failed(self) -> torch.device | None:
        """The further device that the last failure was of."""
        return self._team.failed

    def _divides_tokens(self, video: ModalityInput | None) -> bool:
        """Below, what is computed takes less time than launching it, and one GPU replays recordings."""
        if video is None or not isinstance(video.timesteps, Tensor):
            return False
        count, params = 1 + len(self._team.helpers), self.params
        fewest_heads = min(params.video.heads, params.audio.heads)
        return video.tokens.shape[1] > max(self._fewest_tokens, count) and fewest_heads >= count


class PiecewiseTeam(PiecewiseModel):
    """A divided model of which every device runs its share in the same pieces; `parts` are the devices' own models.

    When one of them runs out of memory, all have stopped, and the whole evaluation is made again in smaller ones.
    """

    def __init__(self, model: DividedModel, parts: Sequence[PiecewiseModel], pieces: Pieces, retry: Retry):
        super().__init__(model, pieces, retry)
        self._parts = parts

    def _run(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner,
    ) -> list[Velocities]:
        for part in self._parts:
            part.pieces = self.pieces
        return self.model(video, audio, passes, run_blocks)


@contextmanager
def on_several_gpus(
    model: AVTransformer,
    replicas: Sequence[AVTransformer],
    reporter: Reporter = SILENT,
    *,
    runner: Callable[[Reporter], BlockRunner] = BlockGraphs,
    fewest_tokens: int = MOST_TOKENS,
    devices: Sequence[torch.device] | None = None,
    turns: Turns | None = None,
) -> Iterator[AVTransformer | DividedModel]:
    """Inside, a model whose evaluations are divided between `model` and its `replicas`; `model` itself without these.

    `runner` and `devices` of the replicas, and `turns`, as in `Team`.  A single pass is divided by its tokens where it
    has more than `fewest_tokens`.
    """
    if not replicas:
        yield model
        return
    team = Team(model, replicas, reporter, runner, devices, turns)
    try:
        yield DividedModel(team, fewest_tokens)
    finally:
        team.close()
