"""Mistakes that are easily made with references, each planted in one run of ours; see test_planted_mistakes.py."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.sampling.attention_weights import AttentionWeights
from ltx_duo.ltx_core.sampling.conditions import Reference
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.state import ModalityState
from ltx_duo.tests.parity.whole_run.planting import Run


def reference_at_its_own_pixels(run: Run) -> None:
    """Of half the size, it stands in a corner of the film."""
    apply = Reference.apply
    run.patch.setattr(Reference, "apply", lambda self, *rest: apply(replace(self, downscale_factor=1), *rest))


def reference_late(run: Run) -> None:
    """By a frame of the film."""
    apply = Reference.apply

    def apply_late(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        made, own = apply(self, state, geometry), state.latent.shape[1]
        positions = made.positions.clone()
        positions[:, 0, own:] += 1 / geometry.fps
        return replace(made, positions=positions)

    run.patch.setattr(Reference, "apply", apply_late)


def references_see_each_other(run: Run) -> None:
    grow = AttentionWeights.grown

    def grow_together(self, *arguments) -> AttentionWeights:
        grown = grow(self, *arguments)
        return replace(grown, groups=(sum(grown.groups),))

    run.patch.setattr(AttentionWeights, "grown", grow_together)


def reference_kept_in_stage_two(run: Run) -> None:
    def keep(request: two_stage.Request) -> two_stage.Request:
        return replace(request, references=[replace(own, stage_two=True) for own in request.references])

    run.settings["change_request"] = keep


def bias_on_one_side(run: Run) -> None:
    """The film looks at the references less, and they at the film as ever."""
    bias = AttentionWeights.bias

    def bias_of_the_film(self, dtype) -> Tensor:
        made = bias(self, dtype)
        made[:, :, self.own :, : self.own] = 0
        return made

    run.patch.setattr(AttentionWeights, "bias", bias_of_the_film)


REFERENCE_PLANTS: tuple[Callable[[Run], None], ...] = (
    reference_at_its_own_pixels,
    reference_late,
    references_see_each_other,
    reference_kept_in_stage_two,
    bias_on_one_side,
)
