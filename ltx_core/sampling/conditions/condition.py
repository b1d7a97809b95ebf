"""What all conditions are, and the checks that they share."""

from typing import Protocol

from torch import Tensor

from ...errors import ConditioningError
from ..geometry import VIDEO_CHANNELS, LatentGeometry
from ..state import ModalityState


class Condition(Protocol):
    """Changes the state of a modality before noise is laid over it.

    A condition in place writes clean tokens or the denoise mask.  One that appends adds tokens behind those of the
    geometry, zeros before noise; `clear_conditioning` takes them off again when the stage ends.
    """

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        """The state with this condition; ConditioningError or GeometryError where it does not fit the stage."""
        ...

    @property
    def appended_tokens(self) -> int:
        """How many tokens it adds to the stream."""
        ...


def checked_strength(strength: float, what: str) -> float:
    """The strength as it is; ConditioningError unless it lies in 0 (ignored) to 1 (kept as it is)."""
    if not 0.0 <= strength <= 1.0:
        raise ConditioningError(f"The {what} strength is {strength}, expected a number from 0 to 1.")
    return strength


def checked_image_latent(latent: Tensor) -> Tensor:
    """The latent as it is; ConditioningError unless it is one encoded image, (1, 128, 1, H', W')."""
    shape = tuple(latent.shape)
    if len(shape) != 5 or shape[:3] != (1, VIDEO_CHANNELS, 1):
        raise ConditioningError(
            f"The image latent has shape {shape}, expected (1, {VIDEO_CHANNELS}, 1, height, width): encode one image."
        )
    return latent


def check_grid(latent: Tensor, geometry: LatentGeometry) -> None:
    """ConditioningError unless an image's latent (1, 128, 1, H', W') has the stage's height and width."""
    grid = (geometry.latent_height, geometry.latent_width)
    if tuple(latent.shape[3:]) != grid:
        raise ConditioningError(
            f"The image latent is {latent.shape[3]}x{latent.shape[4]} (height x width), the video's is {grid[0]}x"
            f"{grid[1]}: encode the image at {geometry.width}x{geometry.height} pixels for this stage."
        )
