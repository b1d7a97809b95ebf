"""What a stage is held to: images, keyframes, regions, references, sound.  One subject a file; see `Condition`."""

from .condition import Condition
from .first_frame import FirstFrame
from .images import GivenImage, encode_images, shown_at
from .keyframe import Keyframe
from .reference import Reference
from .region import TimeRegion
from .sound import GivenSound, encode_sound

__all__ = [
    "Condition",
    "FirstFrame",
    "GivenImage",
    "GivenSound",
    "Keyframe",
    "Reference",
    "TimeRegion",
    "encode_images",
    "encode_sound",
    "shown_at",
]
