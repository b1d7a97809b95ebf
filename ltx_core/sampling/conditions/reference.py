"""A reference film beside the film that is made, as IC-LoRAs are trained to read it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import ConditioningError
from ..attention_weights import AttentionWeights
from ..geometry import VIDEO_CHANNELS, LatentGeometry, geometry_of_latent
from ..patchify import patchify_video
from ..state import ModalityState, appended
from .condition import checked_strength


@dataclass(frozen=True)
class Reference:
    """The vendor's VideoConditionByReferenceLatent.

    latent: (1, 128, F, H, W) normalised.  A reference of 1/`downscale_factor` of the stage's size stands on the stage's
    own pixels; one that shows every `temporal_factor`th frame (after the first) stands at the stage's own times.
    attention_strength: how strongly the film looks at it and it at the film, 0 to 1; attention_mask: (1, F, H, W) float
    of the same by cells, both multiplied.  Where any of it is below 1, no reference sees another one, nor images.
    """

    latent: Tensor
    downscale_factor: int = 1
    temporal_factor: int = 1
    strength: float = 1.0
    attention_strength: float = 1.0
    attention_mask: Tensor | None = None

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
        checked_strength(self.attention_strength, "reference's attention")
        mask = self.attention_mask
        if mask is None:
            return
        if tuple(mask.shape) != (1, *shape[2:]):
            raise ConditioningError(
                f"The reference's attention mask has shape {tuple(mask.shape)}, expected {(1, *shape[2:])}, as the "
                "latent's cells."
            )
        if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
            raise ConditioningError("The reference's attention mask leaves 0 to 1: give one whose values lie between.")

    @property
    def attention_weights(self) -> Tensor | None:
        """Of each token (M,) float32; None where all are 1."""
        mask = torch.ones(self.appended_tokens) if self.attention_mask is None else self.attention_mask.flatten()
        weights = mask.float() * self.attention_strength
        return None if (weights == 1).all() else weights

    @property
    def appended_tokens(self) -> int:
        return self.latent.shape[2:].numel()

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        own = geometry_of_latent(self.latent, geometry.fps / self.temporal_factor)
        positions = own.video_positions(state.positions.device)
        # The first frame lasts one frame of the stage, not of the reference.
        positions[:, 0] = (positions[:, 0] - (self.temporal_factor - 1) / geometry.fps).clamp(min=0)
        positions[:, 1:] *= self.downscale_factor
        weights = self.attention_weights
        if weights is not None and state.attention is None:
            full = AttentionWeights.full(geometry.video_tokens, state.latent.shape[1], state.latent.device)
            state = replace(state, attention=full)
        return appended(state, patchify_video(self.latent), positions, self.strength, weights)
