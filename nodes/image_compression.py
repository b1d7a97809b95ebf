"""Image conditions as the nodes pass them on, and the H.264 round trip that the model learned images with."""

import logging
from dataclasses import dataclass
from io import BytesIO

import av
import torch
from torch import Tensor

from ..ltx_core.errors import ConditioningError
from ..ltx_core.progress import SILENT, Reporter
from ..ltx_core.sampling.conditioning import resize_and_crop, resolve_frames

log = logging.getLogger("ltx_duo")

# What libx264 takes of a side, and H.264's highest level (6.2) of a frame in blocks of 16x16.
LONGEST_SIDE, MOST_BLOCKS = 16384, 139264
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class ImageSpec:
    """One image condition: `image` (H, W, 3) float 0..1 as given; a negative `frame` counts from the end.

    `crf` None stands for the compression that the model was trained with.
    """

    image: Tensor
    frame: int
    strength: float
    crf: int | None


def add_condition(
    conditions: tuple[ImageSpec, ...], image: Tensor, frame: int, strength: float, crf: int | None
) -> tuple[ImageSpec, ...]:
    """A new chain with one more condition; `image` is a ComfyUI IMAGE (1, H, W, 1, 3 or 4), values 0..1.

    ConditioningError for a batch of images, a strange shape, values that are no numbers, or a frame that is taken.
    """
    resolve_frames([*(existing.frame for existing in conditions), frame], None)
    return (*conditions, ImageSpec(single_rgb(image), frame, strength, crf))


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


def prepared(image: Tensor, crf: int, width: int, height: int, reporter: Reporter = SILENT) -> Tensor:
    """The image (H, W, 3) float 0..1 compressed by `crf` at its own size, for a video of width x height pixels.

    An image that is larger than H.264 allows is scaled and cropped to the video's size first.
    """
    if crf and not fits_h264(image):
        log.info(
            "LTX Duo: the image of %d x %d pixels is larger than H.264 allows; scaled to %d x %d before compression.",
            image.shape[1], image.shape[0], width, height,
        )  # fmt: skip
        fitted = resize_and_crop(image, width, height, reporter)[0, :, 0]
        image = (fitted.movedim(0, -1) + 1) / 2
    return compress(image, crf)


def fits_h264(image: Tensor) -> bool:
    """Whether an image (H, W, 3) can be one frame of H.264: about 35 megapixels."""
    blocks = [-(-size // 16) for size in image.shape[:2]]
    return max(image.shape[:2]) <= LONGEST_SIDE and blocks[0] * blocks[1] <= MOST_BLOCKS


def compress(image: Tensor, crf: int) -> Tensor:
    """One frame of H.264 (yuv420p, veryfast) and back: (H, W, 3) float 0..1 -> the same with even H, W.

    The vendor's preparation of conditioning images; crf 0 and images thinner than 2 pixels are left as they are.
    """
    if crf == 0 or min(image.shape[:2]) < 2:
        return image
    height, width = (size // 2 * 2 for size in image.shape[:2])
    pixels = (image[:height, :width].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return torch.from_numpy(decoded).float() / 255
