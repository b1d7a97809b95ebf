"""What is given of a stream and stays, while the rest of it is made."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import ConditioningError
from ..geometry import LatentGeometry
from ..patchify import patchify_audio, patchify_video
from ..state import ModalityState


@dataclass(frozen=True, eq=False)
class Kept:
    """A latent of which the stage makes a part anew; the vendor's VideoConditionByMask with its mask turned round.

    latent: normalised, of the stage's own size, (1, 128, F', H', W') of a picture or (1, 8, T, 16) of a sound.
    mask: float (1, F', H', W') or (1, T): 1 makes a cell anew, 0 keeps it, between keeps it partly; None keeps all.
    The vendor's retake, whose TemporalRegionMask lies over an initial latent, is a mask of 0 and 1.  Partly kept cells
    begin as the vendor's noiser mixes them since v1.1.6; its own mask is only ever 0 or 1.

    It sets the whole mask, so it comes before conditions that append tokens.
    """

    latent: Tensor
    mask: Tensor | None = None

    def __post_init__(self):
        mask, shape = self.mask, tuple(self.latent.shape)
        if len(shape) not in (4, 5) or shape[0] != 1:
            raise ConditioningError(
                f"The latent to keep has shape {shape}, expected (1, 128, frames, height, width) or (1, 8, T, 16)."
            )
        cells = self._cells
        if mask is None:
            return
        if tuple(mask.shape) != cells:
            raise ConditioningError(f"The mask has shape {tuple(mask.shape)}, expected {cells}, as the latent's cells.")
        if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
            raise ConditioningError(
                "The mask leaves 0 to 1: 1 makes a cell anew, 0 keeps it. Give one whose values lie between."
            )

    @property
    def _cells(self) -> tuple[int, ...]:
        shape = tuple(self.latent.shape)
        return (1, *shape[2:]) if len(shape) == 5 else (1, shape[2])

    @property
    def made_anew(self) -> Tensor:
        """The mask, of zeros where all is kept."""
        return torch.zeros(self._cells) if self.mask is None else self.mask

    @property
    def everything(self) -> bool:
        """Whether nothing is made anew: the stream is given as a whole."""
        return self.mask is None or not self.mask.any()

    @property
    def appended_tokens(self) -> int:
        return 0

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        picture = self.latent.ndim == 5
        shape = geometry.video_shape if picture else geometry.audio_shape
        if tuple(self.latent.shape[1:]) != shape:
            raise ConditioningError(
                f"The latent to keep has shape {tuple(self.latent.shape)}, the stage's is {(1, *shape)}: give it at "
                "the stage's own size and length."
            )
        tokens = (patchify_video if picture else patchify_audio)(self.latent).to(state.latent)
        if state.latent.shape[1] != tokens.shape[1]:
            raise ConditioningError("What is kept comes after keyframes or references; put it before them.")
        mask = self.made_anew.to(state.denoise_mask).reshape(1, -1, 1).expand_as(state.denoise_mask)
        return replace(state, clean=torch.where(mask < 1, tokens, state.clean), denoise_mask=mask.clone())
