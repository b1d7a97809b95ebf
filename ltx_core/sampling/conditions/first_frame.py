"""An image on the first frame, in place of the latent's own first frame."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry import LatentGeometry
from ..patchify import patchify_video
from ..state import ModalityState
from .condition import check_grid, checked_image_latent, checked_strength


@dataclass(frozen=True)
class FirstFrame:
    """The vendor's VideoConditionByLatentIndex at latent frame 0.

    latent: (1, 128, 1, H', W') normalised, encoded at the stage's own size; strength: 1 keeps the image, 0 ignores it.
    As in the vendor's v1.2 the noisy tokens stay as they are: only clean tokens and mask change.
    """

    latent: Tensor
    strength: float = 1.0

    def __post_init__(self):
        checked_image_latent(self.latent)
        checked_strength(self.strength, "image")

    @property
    def appended_tokens(self) -> int:
        return 0

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        check_grid(self.latent, geometry)
        count = geometry.frame_tokens
        tokens = patchify_video(self.latent).to(state.latent).expand(state.latent.shape[0], -1, -1)
        mask = torch.full_like(state.denoise_mask[:, :count], 1.0 - self.strength)
        return replace(
            state,
            clean=torch.cat((tokens, state.clean[:, count:]), dim=1),
            denoise_mask=torch.cat((mask, state.denoise_mask[:, count:]), dim=1),
        )
