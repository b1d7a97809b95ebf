"""Guidance passes divided between devices: each computes some of an evaluation's passes with its copy of the weights.

A pass is computed by the same kernels on the same numbers wherever it is run, so that a device's passes equal, bit for
bit, those that one device computes in the same groups.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

from ..transformer.inputs import GuidancePass, ModalityInput
from ..transformer.model import Velocities
from ..transformer.pass_sharing import plan_passes
from ..transformer.runner import BlockRunner
from .graphs import MOST_TOKENS
from .replicas import Helper, Team, moved


def divide_passes(passes: Sequence[GuidancePass], count: int, num_layers: int) -> list[list[int]]:
    """Positions of the passes that each of at most `count` devices computes, so that the slowest has least to do.

    Passes that share work cost less together: the prompt's and the perturbed one stay on one device where that helps.
    The first group has the first pass.  Groups that would be empty are left out.
    """
    choices = ((0, *rest) for rest in product(range(count), repeat=len(passes) - 1))

    def groups(choice: tuple[int, ...]) -> list[list[int]]:
        members = ([i for i, own in enumerate(choice) if own == number] for number in range(count))
        return [group for group in members if group]

    def costs(choice: tuple[int, ...]) -> tuple[int, int]:
        own = [_rows([passes[i] for i in group], num_layers) for group in groups(choice)]
        return max(own), sum(own)

    return groups(min(choices, key=costs))


def _rows(passes: Sequence[GuidancePass], num_layers: int) -> int:
    """How often a block computes a pass's stream, over all blocks: what these passes cost together."""
    plan = plan_passes(passes, num_layers)
    return sum(len(block.split_cross or block.contexts or (0,)) for block in plan.blocks)


class PassSplit:
    """Evaluations whose passes are divided between the devices of a team."""

    def __init__(self, team: Team):
        self._team = team
        self._divided: tuple[tuple[GuidancePass, ...], list[list[int]]] = ((), [])

    def __call__(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner,
    ) -> list[Velocities]:
        """As `AVTransformer.forward`, of batch size 1; `run_blocks` is for the first device's own passes."""
        first, *others = groups = self._groups(passes)
        tokens = (video or audio).tokens
        small = max(map(len, groups)) * tokens.shape[1] <= MOST_TOKENS
        kind = tokens.shape, tuple(own.name for own in passes)

        # Copied by this thread, in the order of its own work.
        inputs = [
            moved((video, audio, [passes[i] for i in group]), helper.device)
            for helper, group in zip(self._team.helpers, others, strict=False)
        ]
        found = self._team.run(
            lambda: self._team.model(video, audio, [passes[i] for i in first], run_blocks),
            [partial(_compute, own) for own in inputs],
            in_turn=small and self._team.turns.take(kind),
        )
        results: list[Velocities | None] = [None] * len(passes)
        for group, velocities in zip(groups, moved(found, tokens.device), strict=True):
            for index, own in zip(group, velocities, strict=True):
                results[index] = own
        return results

    def _groups(self, passes: Sequence[GuidancePass]) -> list[list[int]]:
        known, groups = self._divided
        if len(known) != len(passes) or any(a is not b for a, b in zip(known, passes, strict=True)):
            groups = divide_passes(passes, 1 + len(self._team.helpers), self._team.model.params.num_layers)
            self._divided = tuple(passes), groups
        return groups


def _compute(inputs: tuple, helper: Helper) -> list[Velocities]:
    return helper.model(*inputs, helper.run_blocks)
