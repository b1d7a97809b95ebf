"""A small copy of a decoded video in ComfyUI's temporary folder, for the node itself to play."""

import logging
from contextlib import suppress
from pathlib import Path

import folder_paths
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger("ltx_duo")

LONGEST_SIDE = 512  # pixels


def save(video) -> dict | None:
    """Writes an MP4 of a VIDEO with its sound, at most 512 pixels long and wide; ComfyUI's entry for it.

    None, with a line in the log, where it cannot be written: the result itself is not in danger.
    """
    from comfy_api.latest import InputImpl, Types

    path = None
    try:
        components = video.get_components()
        small = Types.VideoComponents(
            images=shrink(components.images), audio=components.audio, frame_rate=components.frame_rate
        )
        height, width = small.images.shape[1:3]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            "ltx-duo", folder_paths.get_temp_directory(), width, height
        )
        file = f"{name}_{counter:05}_.mp4"
        path = Path(folder, file)
        # A file that PyAV opens itself stays open when its last bytes cannot be written.
        with path.open("wb") as opened:
            InputImpl.VideoFromComponents(small).save_to(
                opened, format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264
            )
    except Exception as error:  # encoders raise errors of many kinds
        log.warning("LTX Duo: the preview of the video could not be written: %s", error)
        if path is not None:
            with suppress(OSError):
                path.unlink()
        return None
    return {"filename": file, "subfolder": subfolder, "type": "temp"}


def shrink(images: Tensor) -> Tensor:
    """Frames (F, H, W, 3), averaged down by a whole number until no side is longer than 512; sides stay even."""
    factor = -(-max(images.shape[1:3]) // LONGEST_SIDE)
    if factor > 1:
        images = F.avg_pool2d(images.movedim(-1, 1), factor).movedim(1, -1)
    return images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
