"""The H.264 round trip of conditioning images: the model learned from frames of compressed video."""

from io import BytesIO

import torch
from torch import Tensor

from .errors import LTXError

COMPRESSING = "Compressing an image (crf=0 leaves it as it is)"
# What libx264 takes of a side, and H.264's highest level (6.2) of a frame in blocks of 16x16.
LONGEST_SIDE, MOST_BLOCKS = 16384, 139264


def fits_h264(image: Tensor) -> bool:
    """Whether an image (H, W, 3) can be one frame of H.264: about 35 megapixels."""
    blocks = [-(-size // 16) for size in image.shape[:2]]
    return max(image.shape[:2]) <= LONGEST_SIDE and blocks[0] * blocks[1] <= MOST_BLOCKS


def compress(image: Tensor, crf: int) -> Tensor:
    """One frame of H.264 (yuv420p, veryfast) and back: (H, W, 3) float 0..1 -> the same with even H, W.

    The vendor's preparation of conditioning images; crf 0 and images thinner than 2 pixels are left as they are.
    LTXError where PyAV is not installed; ComfyUI brings it.
    """
    if crf == 0 or min(image.shape[:2]) < 2:
        return image
    av = pyav(COMPRESSING)
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


def pyav(purpose: str):
    """The module `av`; LTXError that says what it is for where it is missing."""
    try:
        import av
    except ImportError:
        raise LTXError(f"{purpose} needs PyAV: pip install av.") from None
    return av
