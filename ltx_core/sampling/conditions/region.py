"""A part of the film that is made anew, while the rest is kept."""

from dataclasses import dataclass, replace

from ...errors import ConditioningError
from ..geometry import LatentGeometry
from ..state import ModalityState


@dataclass(frozen=True)
class TimeRegion:
    """The vendor's TemporalRegionMask: tokens that overlap [start, end) seconds are generated, all others kept.

    It sets the whole mask, so it comes before conditions that append tokens.  It fits video and audio.
    """

    start: float
    end: float

    def __post_init__(self):
        if not self.start < self.end:
            raise ConditioningError(
                f"The region runs from {self.start} to {self.end} s; its end must be the later one."
            )

    @property
    def appended_tokens(self) -> int:
        return 0

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        if state.latent.shape[1] not in (geometry.video_tokens, geometry.audio_frames):
            raise ConditioningError("A region comes after keyframes or references; put it before them.")
        begins, ends = state.positions[0, 0].unbind(-1)
        inside = (ends > self.start) & (begins < self.end)
        mask = inside.to(state.denoise_mask.dtype)[None, :, None].expand_as(state.denoise_mask)
        return replace(state, denoise_mask=mask.clone())
