"""Frames that stage one makes once more, each by itself, which leads the film's motion there (LTX-2.5)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...errors import ConditioningError
from ..geometry import LatentGeometry
from ..state import ModalityState, appended


@dataclass(frozen=True)
class GeneratedKeyframes:
    """The vendor's VideoGeneratedKeyframeSlots: tokens that hold nothing and are made from noise with the film's.

    frames: pixel frames from 0, rising; each lasts for [frame, frame + 1) / fps.  frame_tokens: of one latent frame of
    the stage.  They carry the mark of single frames, and are taken off when the stage ends.  ConditioningError for
    frames that are none, or in another order.
    """

    frames: tuple[int, ...]
    frame_tokens: int

    def __post_init__(self):
        rising = all(one < other for one, other in zip(self.frames, self.frames[1:], strict=False))
        if not self.frames or self.frames[0] < 0 or not rising:
            raise ConditioningError(
                f"The generated keyframes are {list(self.frames)}, expected pixel frames from 0, each once and rising."
            )

    @property
    def appended_tokens(self) -> int:
        return len(self.frames) * self.frame_tokens

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        if self.frame_tokens != geometry.frame_tokens or self.frames[-1] >= geometry.frames:
            raise ConditioningError(
                f"The generated keyframes are of {self.frame_tokens} tokens up to frame {self.frames[-1]}, but the "
                f"stage has {geometry.frame_tokens} tokens a frame and {geometry.frames} frames."
            )
        if state.single_frames:
            raise ConditioningError("The stage has generated keyframes already: name all of them in one condition.")
        first, tokens = state.latent.shape[1], state.latent.new_zeros(1, self.appended_tokens, state.latent.shape[2])
        device = state.positions.device
        positions = torch.cat([geometry.keyframe_positions(frame, device) for frame in self.frames], dim=2)
        grown = appended(state, tokens, positions, strength=0.0)
        return replace(grown, single_frames=range(first, first + self.appended_tokens))


def generated_keyframes(frames: Sequence[int], geometry: LatentGeometry) -> tuple[GeneratedKeyframes, ...]:
    """The condition for pixel frames, negative ones counted from the end, at a stage's size; empty for none."""
    return (GeneratedKeyframes(resolved_keyframes(frames, geometry.frames), geometry.frame_tokens),) if frames else ()


def resolved_keyframes(frames: Sequence[int], total: int) -> tuple[int, ...]:
    """Pixel frames in order, negative ones counted from the end; ConditioningError for one outside the film's `total`
    or one that is named twice."""
    for frame in frames:
        if not -total <= frame < total:
            raise ConditioningError(
                f"A keyframe is to be generated at frame {frame}, but the video has {total}: use 0 to {total - 1}, or "
                "-1 for the last."
            )
    resolved = sorted(frame % total for frame in frames)
    if len(set(resolved)) < len(resolved):
        raise ConditioningError(f"A keyframe is generated twice at one frame of {list(frames)}: name each once.")
    return tuple(resolved)
