"""The drawn world: one moving shape a clip, the sound that belongs to it, and what a person would say of it."""

from .captions import caption
from .drawing import render
from .motion import bounce_times
from .outlines import outline
from .scenes import Scene, draw_scene
from .tones import sound

__all__ = ["Scene", "bounce_times", "caption", "draw_scene", "outline", "render", "sound"]
