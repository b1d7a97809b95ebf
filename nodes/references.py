"""A reference film as the nodes pass it on: out of ComfyUI's VIDEO, into a chain, and what is said of it."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from ..ltx_core.errors import ConditioningError
from ..ltx_core.sampling.conditions import GivenReference
from ..ltx_core.sampling.geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, LatentGeometry
from .films import film_of
from .given import NOTHING, Given, ShownReference
from .names import FROM_LORA

STEP = 4 * SPATIAL_FACTOR  # of the final size: stage one is half of it, and most references are half of that again
_SAME_RATE = 1e-3  # 23.976 is 24000/1001


def add_reference(
    conditions: Given | None,
    video: object,
    strength: float,
    attention_strength: float,
    mask: object | None,
    in_stage_two: bool,
    downscale_factor: str,
) -> Given:
    """A new chain with a VIDEO as a reference; ConditioningError for anything else, or a mask that does not fit."""
    given = conditions or NOTHING
    frames, fps, _ = film_of(video)
    reference = GivenReference(frames, strength, attention_strength, _weights(mask), in_stage_two)
    factor = None if downscale_factor == FROM_LORA else int(downscale_factor)
    return replace(given, references=(*given.references, ShownReference(reference, fps, factor)))


def _weights(mask: object | None) -> Tensor | None:
    """A MASK, (H, W) or (1 or F, H, W), as it is; ConditioningError for anything else."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ConditioningError(f"The attention mask is {shape}; expected MASK, (1 or frames, height, width).")
    return (mask if mask.ndim == 3 else mask[None]).float().cpu()


def final_size(shown: ShownReference) -> tuple[int, int, int]:
    """Width, height and frames of a film like the reference: whole steps of 128 pixels and 8 frames, at least one."""
    count, height, width = shown.given.frames.shape[:3]
    sides = (max(side // STEP, 1) * STEP for side in (width, height))
    return *sides, (count - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1


def remarks(shown: ShownReference, geometry: LatentGeometry, temporal_factor: int) -> Iterator[str]:
    """What becomes of a reference in a film of `geometry` that its user may not expect."""
    given, count = shown.given, len(shown.given.frames)
    if abs(shown.fps - geometry.fps) > _SAME_RATE:
        yield (
            f"The reference has {shown.fps:g} frames a second, the film is made at {geometry.fps:g}: its frames are "
            "read one by one, so that it runs faster or slower there. Set fps to its rate, or convert it."
        )
    read = given.shown(geometry.frames, temporal_factor)[-1] + 1
    if count > geometry.frames:
        yield (
            f"The reference has {count} frames, the film {geometry.frames}: the last {count - geometry.frames} are not "
            "read."
        )
    elif read < geometry.frames:
        yield (
            f"Of the reference {read} frames are read (it has {count}; whole steps of 8 count), the film has "
            f"{geometry.frames}: what comes after has no reference."
        )
    if not given.strength:
        yield "The reference's strength is 0: it is noise to the model, and only costs time. Take it out of the chain."
