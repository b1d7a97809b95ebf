"""What a stage is held to: images, keyframes, regions, references.  One subject a file; see `Condition`."""

from .condition import Condition
from .first_frame import FirstFrame
from .images import GivenImage, encode_images, shown_at
from .keyframe import Keyframe
from .reference import Reference
from .region import TimeRegion

__all__ = ["Condition", "FirstFrame", "GivenImage", "Keyframe", "Reference", "TimeRegion", "encode_images", "shown_at"]
