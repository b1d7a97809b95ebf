"""What a chain of conditions gives: the value of LTXDUO_CONDITIONS, which the condition nodes hand on."""

from dataclasses import dataclass

from ..ltx_core.sampling.conditions import GivenImage, GivenSound


@dataclass(frozen=True, eq=False)
class Given:
    """By kind, each in the order of the chain.  A node makes a new one: what it was given stays as it is."""

    images: tuple[GivenImage, ...] = ()
    sound: GivenSound | None = None


NOTHING = Given()
