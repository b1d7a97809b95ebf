"""Guidance reused: how far its passes are from the prompt's, carried on to a step that computes the prompt's alone.

Velocities differ smoothly in sigma, so that a line through the last two steps that were computed says what the next one
would find; holding the last difference instead lags behind, and is worse than taking fewer steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..transformer.model import Velocities

COND = "cond"


@dataclass(frozen=True)
class Differences:
    """At `sigma`, the velocity of the prompt's pass minus that of each other one, by its name.

    Float32 (B, T, 128) of video and audio, None for what is left out.
    """

    sigma: float
    by_pass: Mapping[str, Velocities]


def differences(sigma: float, velocities: Mapping[str, Velocities]) -> Differences:
    """Of the velocities (B, T, 128) by pass, `cond` among them.

    A pass without the reference voice has fewer tokens; they are the first ones.
    """
    cond = velocities[COND]
    return Differences(
        sigma,
        {
            name: tuple(None if v is None else _minus(c, v) for c, v in zip(cond, own, strict=True))
            for name, own in velocities.items()
            if name != COND
        },
    )


def carried_on(known: Sequence[Differences], sigma: float, cond: Velocities) -> dict[str, Velocities]:
    """The velocities at `sigma` by pass: `cond` as computed, the others on the line through the last two `known`.

    With one known difference that one; float32 but for `cond`.
    """
    latest = known[-1]
    before = known[-2] if len(known) > 1 else latest
    along = (sigma - latest.sigma) / (latest.sigma - before.sigma) if len(known) > 1 else 0.0
    result = {COND: cond}
    for name, own in latest.by_pass.items():
        pairs = zip(own, before.by_pass[name], strict=True)
        ahead = [None if new is None else new + along * (new - old) for new, old in pairs]
        result[name] = tuple(None if d is None else _minus(c, d) for c, d in zip(cond, ahead, strict=True))
    return result


def _minus(cond: Tensor, other: Tensor) -> Tensor:
    return cond[:, : other.shape[1]].float() - other.float()
