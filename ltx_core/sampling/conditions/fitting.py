"""Where an image stands in a video, and how it is fitted to the video's size."""

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import ConditioningError
from ...progress import SILENT, Reporter


class Fit(StrEnum):
    """How an image gets another shape: what exceeds it is cut off (the vendor's way), what lacks is black, or it is
    stretched."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


# Images up to this size are scaled whole, which takes 0.8 GB.
_MOST_PIXELS = 2**26
_ROWS_AT_ONCE = 64


def resolve_frame(frame: int, frames: int) -> int:
    """The pixel frame 0 ... frames-1 that `frame` means; negative numbers count from the end."""
    if not -frames <= frame < frames:
        raise ConditioningError(
            f"An image is placed at frame {frame}, but the video has {frames} frames: use 0 to {frames - 1}, or -1 for "
            "the last one."
        )
    return frame % frames


def resolve_frames(frames: Sequence[int], total: int | None) -> list[int]:
    """The pixel frames that images are placed on; ConditioningError for one outside the video or two on one frame.

    `total` None: the video's length is not known, so that only equal numbers are one frame.
    """
    resolved: list[int] = []
    for frame in frames:
        place = frame if total is None else resolve_frame(frame, total)
        if place in resolved:
            other = frames[resolved.index(place)]
            means = "" if other == frame else f", which {other} and {frame} both mean"
            raise ConditioningError(f"Two images are placed on frame {place}{means}; give each its own frame.")
        resolved.append(place)
    return resolved


def check_image(image: Tensor) -> None:
    """ConditioningError unless it is a picture (H, W, 3) of floating-point numbers."""
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ConditioningError(
            f"The image has shape {tuple(image.shape)}, expected (height, width, 3) RGB: give one image, colours last."
        )
    if not image.is_floating_point():
        raise ConditioningError(f"The image holds {image.dtype}, expected floats in 0..1: divide bytes by 255.")


def resize_and_crop(image: Tensor, width: int, height: int, reporter: Reporter = SILENT) -> Tensor:
    """Scales an image (H, W, 3) in 0..1 to cover width x height, crops its centre: (1, 3, 1, height, width) in [-1, 1].

    Bilinear between pixel centres without antialiasing, sizes rounded up, float32; equal bits to the vendor's
    resize_and_center_crop for images that come from 8 bits, up to 67 megapixels before and after scaling.  Of larger
    ones only what stays is computed, in little memory and equal up to rounding.  Compression of the image (H.264)
    comes before this, at the image's own size.
    """
    check_image(image)
    size, corner = _covering(image.shape[:2], width, height)
    return _scaled(image, size, corner, (height, width), reporter)


def fitted(image: Tensor, width: int, height: int, fit: Fit = Fit.CROP, reporter: Reporter = SILENT) -> Tensor:
    """The image (H, W, 3) in 0..1 at width x height: (1, 3, 1, height, width) in [-1, 1].

    `crop` is `resize_and_crop`; `pad` scales it to lie inside, with black beside it; `stretch` scales both sides by
    themselves.  All scale as `resize_and_crop` does.
    """
    if fit is Fit.CROP:
        return resize_and_crop(image, width, height, reporter)
    check_image(image)
    size = (height, width) if fit is Fit.STRETCH else _inside(image.shape[:2], width, height)
    scaled = _scaled(image, size, (0, 0), size, reporter)
    left, top = (width - size[1]) // 2, (height - size[0]) // 2
    return F.pad(scaled, (left, width - size[1] - left, top, height - size[0] - top), value=-1.0)


def cut_share(source: Sequence[int], width: int, height: int) -> float:
    """The share of an image of `source` (height, width) that `crop` cuts off."""
    wide = source[1] * height, source[0] * width
    return 1 - min(wide) / max(wide)


def fit_frame(image: Tensor, width: int, height: int, reporter: Reporter = SILENT) -> Tensor:
    """The image (H, W, 3) in 0..1 as `resize_and_crop` fits it, (height, width, 3); its own bits where it is only
    cropped."""
    size, (top, left) = _covering(image.shape[:2], width, height)
    if size == tuple(image.shape[:2]):
        return image[top : top + height, left : left + width]
    return (resize_and_crop(image, width, height, reporter)[0, :, 0].movedim(0, -1) + 1) / 2


def fit_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """A mask (H, W) over an image that `resize_and_crop` fits, (height, width): the largest value below each pixel."""
    size, (top, left) = _covering(mask.shape, width, height)
    scaled = F.adaptive_max_pool2d(mask.float()[None], size)[0]
    return scaled[top : top + height, left : left + width]


def _inside(source: Sequence[int], width: int, height: int) -> tuple[int, int]:
    """The size (height, width) of `source` scaled to lie in width x height, touching two sides of it."""
    scale = min(height / source[0], width / source[1])
    return max(1, min(height, round(source[0] * scale))), max(1, min(width, round(source[1] * scale)))


def _scaled(
    image: Tensor, size: tuple[int, int], corner: tuple[int, int], window: tuple[int, int], reporter: Reporter
) -> Tensor:
    """The `window` (height, width) at `corner` (top, left) of the image at `size`: (1, 3, 1, height, width) in [-1, 1].

    Whole where that fits into memory.
    """
    if max(image.shape[:2].numel(), size[0] * size[1]) > _MOST_PIXELS:
        pixels = _resized_window(image, size, corner, window, reporter)
    else:
        # Interpolated as 0..255, as the vendor does, so that 8-bit values stay exact up to here.
        pixels = (image.float() * 255).permute(2, 0, 1)[None]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        pixels = pixels[:, :, corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]
    return (pixels / 127.5 - 1.0)[:, :, None]


def _covering(source: Sequence[int], width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size (height, width) of `source` scaled to cover width x height, and where what is cropped of it begins."""
    scale = max(height / source[0], width / source[1])
    size = (math.ceil(source[0] * scale), math.ceil(source[1] * scale))
    return size, ((size[0] - height) // 2, (size[1] - width) // 2)


def _resized_window(
    image: Tensor, size: tuple[int, int], corner: tuple[int, int], window: tuple[int, int], reporter: Reporter
) -> Tensor:
    """The `window` (height, width) at `corner` (top, left) of F.interpolate's result of `size`: (1, 3, height, width).

    Values 0..255 from an image (H, W, 3) in 0..1.
    """
    result = torch.empty(1, 3, *window)
    rows, columns = (_taps(*axis) for axis in zip(image.shape[:2], size, corner, window, strict=True))
    for start in range(0, window[0], _ROWS_AT_ONCE):
        reporter.check_cancel()
        above, below, down = (tap[start : start + _ROWS_AT_ONCE, None] for tap in rows)
        left, right, across = columns
        upper = torch.lerp(_picked(image, above, left), _picked(image, above, right), across[:, None])
        lower = torch.lerp(_picked(image, below, left), _picked(image, below, right), across[:, None])
        result[0, :, start : start + len(above)] = torch.lerp(upper, lower, down[..., None]).movedim(-1, 0)
    return result


def _picked(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return image[rows, columns].float() * 255


def _taps(source: int, size: int, start: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For `count` pixels from `start` on, of `size` made from `source`: both neighbours, and the share of the second.

    Float32 like PyTorch's own, so that both round alike.
    """
    scale = torch.tensor(float(source)) / size
    places = ((torch.arange(start, start + count).float() + 0.5) * scale - 0.5).clamp(min=0)
    first = places.long().clamp(max=source - 1)
    return first, (first + 1).clamp(max=source - 1), (places - first).clamp(0, 1)
