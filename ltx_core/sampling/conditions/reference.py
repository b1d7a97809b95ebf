"""A reference film beside the film that is made, as IC-LoRAs are trained to read it."""

from dataclasses import dataclass

from torch import Tensor

from ...errors import ConditioningError
from ..geometry import VIDEO_CHANNELS, LatentGeometry, geometry_of_latent
from ..patchify import patchify_video
from ..state import ModalityState, appended
from .condition import checked_strength


@dataclass(frozen=True)
class Reference:
    """The vendor's VideoConditionByReferenceLatent.

    latent: (1, 128, F, H, W) normalised.  A reference of 1/`downscale_factor` of the stage's size stands on the stage's
    own pixels; one that shows every `temporal_factor`th frame (after the first) stands at the stage's own times.
    """

    latent: Tensor
    downscale_factor: int = 1
    temporal_factor: int = 1
    strength: float = 1.0

    def __post_init__(self):
        shape = tuple(self.latent.shape)
        if len(shape) != 5 or shape[:2] != (1, VIDEO_CHANNELS):
            raise ConditioningError(
                f"The reference latent has shape {shape}, expected (1, {VIDEO_CHANNELS}, frames, height, width)."
            )
        for name in ("downscale_factor", "temporal_factor"):
            if getattr(self, name) < 1:
                raise ConditioningError(f"{name} is {getattr(self, name)}, expected a whole number from 1.")
        checked_strength(self.strength, "reference")

    @property
    def appended_tokens(self) -> int:
        return self.latent.shape[2:].numel()

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        own = geometry_of_latent(self.latent, geometry.fps / self.temporal_factor)
        positions = own.video_positions(state.positions.device)
        # The first frame lasts one frame of the stage, not of the reference.
        positions[:, 0] = (positions[:, 0] - (self.temporal_factor - 1) / geometry.fps).clamp(min=0)
        positions[:, 1:] *= self.downscale_factor
        return appended(state, patchify_video(self.latent), positions, self.strength)
