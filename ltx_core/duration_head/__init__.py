"""LTX-2.5's duration head: how long a film its prompt asks for."""

from .frames import frames_of_seconds, predicted_frames
from .keys import duration_head_key_map
from .model import DurationHead
from .params import DurationHeadParams

__all__ = ["DurationHead", "DurationHeadParams", "duration_head_key_map", "frames_of_seconds", "predicted_frames"]
