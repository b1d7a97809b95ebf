"""What a chain of conditions gives: the value of LTXDUO_CONDITIONS, which the condition nodes hand on."""

from dataclasses import dataclass

from ..ltx_core.sampling.conditions import GivenFilm, GivenImage, GivenReference, GivenSound, GivenVoice


@dataclass(frozen=True, eq=False)
class ShownReference:
    """A reference film with its own rate, which only words depend on.

    downscale_factor: what a node says of it in place of the LoRA's metadata, or None.
    """

    given: GivenReference
    fps: float
    downscale_factor: int | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """By kind, each in the order of the chain.  A node makes a new one: what it was given stays as it is.

    sound_vae: what came in as audio_vae beside a sound, a film or a voice, to encode sound in place of the sampler's
    vae.
    """

    images: tuple[GivenImage, ...] = ()
    sound: GivenSound | None = None
    film: GivenFilm | None = None
    sound_vae: object | None = None
    references: tuple[ShownReference, ...] = ()
    voice: GivenVoice | None = None


NOTHING = Given()
