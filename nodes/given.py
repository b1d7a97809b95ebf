"""What a chain of conditions gives: the value of LTXDUO_CONDITIONS, which the condition nodes hand on."""

from dataclasses import dataclass

from ..ltx_core.sampling.conditions import GivenFilm, GivenImage, GivenSound


@dataclass(frozen=True, eq=False)
class Given:
    """By kind, each in the order of the chain.  A node makes a new one: what it was given stays as it is.

    sound_vae: what came in as audio_vae beside a sound or a film, to encode sound in place of the sampler's vae.
    """

    images: tuple[GivenImage, ...] = ()
    sound: GivenSound | None = None
    film: GivenFilm | None = None
    sound_vae: object | None = None


NOTHING = Given()
