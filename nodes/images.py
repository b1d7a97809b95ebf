"""An image as the nodes pass it on: out of ComfyUI's IMAGE, into a chain of conditions."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..ltx_core.errors import ConditioningError
from ..ltx_core.sampling.conditions import Fit, GivenImage
from ..ltx_core.sampling.conditions.fitting import cut_share, resolve_frames
from ..ltx_core.sampling.geometry import LatentGeometry
from .given import NOTHING, Given

_ROWS_AT_ONCE = 1024
_MUCH = 1 / 3  # of an image that is cut off


def add_condition(
    conditions: Given | None,
    image: Tensor,
    frame: int,
    strength: float,
    crf: int | None,
    fit: Fit = Fit.CROP,
    keyframe: bool = False,
) -> Given:
    """A new chain with one more image; `image` is a ComfyUI IMAGE (1, H, W, 1, 3 or 4), values 0..1.

    ConditioningError for a batch of images, a strange shape, values that are no numbers, or a frame that is taken.
    """
    given = conditions or NOTHING
    resolve_frames([*(existing.frame for existing in given.images), frame], None)
    shown = GivenImage(single_rgb(image), frame, strength, crf, fit, keyframe)
    return replace(given, images=(*given.images, shown))


def remarks(images: tuple[GivenImage, ...], geometry: LatentGeometry) -> Iterator[str]:
    """What becomes of the images that their user may not expect."""
    for given in images:
        height, width = given.image.shape[:2]
        share = cut_share((height, width), geometry.width, geometry.height)
        if given.fit is Fit.CROP and share > _MUCH:
            yield (
                f"Of the image of {width}x{height} at frame {given.frame}, {share:.0%} is cut off, since the video is "
                f"{geometry.width}x{geometry.height}. Give the video the image's shape, or set fit of LTX Image "
                "Condition to pad or stretch."
            )


def single_rgb(image: Tensor) -> Tensor:
    """The one picture of an IMAGE as (H, W, 3) float32: grey is repeated, alpha is dropped, as the vendor does."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ConditioningError(f"The image has shape {tuple(image.shape)}; expected (1, height, width, 1, 3 or 4).")
    if image.shape[0] != 1:
        raise ConditioningError(
            f"The image input holds {image.shape[0]} images; a condition takes one. Pick it with ImageFromBatch, "
            "and chain one LTX Image Condition for each image."
        )
    rgb = image[0, ..., :3] if image.shape[-1] > 1 else image[0].expand(-1, -1, 3)
    if not all(torch.isfinite(rows).all() for rows in rgb.split(_ROWS_AT_ONCE)):
        raise ConditioningError("The image holds values that are not numbers (NaN or infinite).")
    return rgb.float().cpu().contiguous()
