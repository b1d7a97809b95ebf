"""What a stage is held to: images, keyframes, references, sound, film.  One subject a file; see `Condition`."""

from .condition import Condition
from .film import GivenFilm
from .film_encoding import encode_film, encode_film_sound
from .first_frame import FirstFrame
from .fitting import Fit
from .generated_keyframes import GeneratedKeyframes, generated_keyframes
from .images import GivenImage, encode_images, shown_at
from .kept import Kept
from .keyframe import Keyframe
from .reference import Reference
from .reference_film import GivenReference, encode_reference
from .sound import GivenSound, encode_sound
from .voice import GivenVoice, Voice, encode_voice

__all__ = [
    "Condition",
    "FirstFrame",
    "Fit",
    "GeneratedKeyframes",
    "GivenFilm",
    "GivenImage",
    "GivenReference",
    "GivenSound",
    "GivenVoice",
    "Kept",
    "Keyframe",
    "Reference",
    "Voice",
    "encode_film",
    "encode_film_sound",
    "encode_images",
    "encode_reference",
    "encode_sound",
    "encode_voice",
    "generated_keyframes",
    "shown_at",
]
