"""LTX-2.5's duration head: how long a film its prompt asks for."""

from .frames import check_limits, frames_and_remark, frames_of_seconds, predicted_frames
from .model import DurationHead
from .params import DurationHeadParams

__all__ = [
    "DurationHead",
    "DurationHeadParams",
    "check_limits",
    "frames_and_remark",
    "frames_of_seconds",
    "predicted_frames",
]
