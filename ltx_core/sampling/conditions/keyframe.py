"""An image at any frame, as tokens of its own that attention sees at that frame's time."""

from dataclasses import dataclass

from torch import Tensor

from ..geometry import LatentGeometry
from ..patchify import patchify_video
from ..state import ModalityState, appended
from .condition import check_grid, checked_image_latent, checked_strength


@dataclass(frozen=True)
class Keyframe:
    """The vendor's VideoConditionByKeyframeIndex since v1.2: one pixel frame long, at time [frame, frame + 1) / fps.

    latent: (1, 128, 1, H', W') normalised, encoded at the stage's own size; frame: pixel frame from 0; strength: 1
    keeps the image, 0 lets the model change it freely.
    """

    latent: Tensor
    frame: int
    strength: float = 1.0

    def __post_init__(self):
        checked_image_latent(self.latent)
        checked_strength(self.strength, "image")

    @property
    def appended_tokens(self) -> int:
        return self.latent.shape[3] * self.latent.shape[4]

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        check_grid(self.latent, geometry)
        positions = geometry.keyframe_positions(self.frame, state.positions.device)
        return appended(state, patchify_video(self.latent), positions, self.strength)
