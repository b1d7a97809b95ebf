"""Images as they are given, and as the conditions that a stage takes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import ConditioningError
from ...image_compression import compress, fits_h264
from ...progress import SILENT, Reporter
from ..geometry import LatentGeometry
from .condition import Condition, checked_strength
from .first_frame import FirstFrame
from .fitting import Fit, fitted, resolve_frames
from .keyframe import Keyframe

MOST_CRF = 51  # of H.264

log = logging.getLogger("ltx_duo")


@dataclass(frozen=True, eq=False)
class GivenImage:
    """An image that the video shows: (H, W, 3) float 0..1 on the CPU, its pixel frame (negative: from the end), and how
    firmly it is kept, 0 to 1.

    crf: H.264 compression put on it first, 0 (none) to 51, None for what the model learned with.  fit: how it gets the
    video's shape.  keyframe: the first frame's image too stands beside the video, as those of other frames do.
    ConditioningError for a strength or crf outside.
    """

    image: Tensor
    frame: int = 0
    strength: float = 1.0
    crf: int | None = None
    fit: Fit = Fit.CROP
    keyframe: bool = False

    def __post_init__(self):
        checked_strength(self.strength, "image")
        if self.crf is not None and not 0 <= self.crf <= MOST_CRF:
            raise ConditioningError(f"The image's crf is {self.crf}, expected 0 (no compression) to {MOST_CRF}.")


@torch.no_grad()
def encode_images(
    encoder: nn.Module,
    images: Sequence[GivenImage],
    geometry: LatentGeometry,
    crf: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Condition, ...]:
    """Compresses each image, by `crf` unless it says otherwise, fits it to a stage's size and encodes it there.

    Every stage encodes its own.  On the first frame an image takes the place of the latent's own, elsewhere it is
    appended (the vendor's combined_image_conditionings), and so it is there as a keyframe (the vendor's
    image_conditionings_by_adding_guiding_latent).  ConditioningError for an image outside the video or on the frame of
    another one.
    """
    conditions: list[Condition] = []
    frames = resolve_frames([given.frame for given in images], geometry.frames)
    for given, frame in zip(images, frames, strict=True):
        reporter.check_cancel()
        image = prepared(given, crf if given.crf is None else given.crf, geometry, reporter)
        reporter.check_cancel()
        pixels = fitted(image, geometry.width, geometry.height, given.fit, reporter).to(device, dtype)
        conditions.append(shown_at(encoder(pixels), frame, given.strength, given.keyframe))
    return tuple(conditions)


def prepared(given: GivenImage, crf: int, geometry: LatentGeometry, reporter: Reporter = SILENT) -> Tensor:
    """The image (H, W, 3) float 0..1 compressed by `crf` at its own size, for a video of `geometry`.

    An image that is larger than H.264 allows is fitted to the video's size first.
    """
    image = given.image
    if crf and not fits_h264(image):
        log.info(
            "LTX Duo: the image of %d x %d pixels is larger than H.264 allows; scaled to %d x %d before compression.",
            image.shape[1], image.shape[0], geometry.width, geometry.height,
        )  # fmt: skip
        pixels = fitted(image, geometry.width, geometry.height, given.fit, reporter)[0, :, 0]
        image = (pixels.movedim(0, -1) + 1) / 2
    return compress(image, crf)


def shown_at(latent: Tensor, frame: int, strength: float = 1.0, keyframe: bool = False) -> Condition:
    """The condition of one encoded image (1, 128, 1, H', W') at pixel frame `frame`, counted from 0."""
    in_place = frame == 0 and not keyframe
    return FirstFrame(latent, strength) if in_place else Keyframe(latent, frame, strength)
