"""LTX-2.5's duration head: how long a film its prompt asks for."""

from .frames import frames_of_seconds, predicted_frames
from .model import DurationHead
from .params import DurationHeadParams

__all__ = ["DurationHead", "DurationHeadParams", "frames_of_seconds", "predicted_frames"]
