"""Pictures of a film while it is sampled, for ComfyUI to show: by a small decoder of its own latents, or ComfyUI's."""

import logging
from collections.abc import Callable
from itertools import count

import comfy.model_management as mm
import folder_paths
import torch
from PIL import Image
from torch import Tensor

from ...ltx_core.errors import CheckpointError
from ...ltx_core.safetensors_file import SafetensorsFile
from ...ltx_core.video_vae.preview import LATENTS_OF, load_preview_decoder
from . import compat

log = logging.getLogger("ltx_duo")

FOLDER, ENDING = "vae_approx", "-preview.safetensors"

Preview = tuple[str, Image.Image, int]
"""As ComfyUI's progress bar takes it: format, picture, longest side that is shown."""


def previewer(latents_of: str | None) -> Callable[[Tensor], Preview] | None:
    """A function from the clean video latent (B, 128, F, H, W) to ComfyUI's preview; None when there is none.

    `latents_of`: the version that the model's file states.  Each call shows the next frame, so that the preview moves
    while the film becomes clear.
    """
    show = _chosen(latents_of)
    if show is None:
        return None
    shown = count()

    def next_frame(video_x0: Tensor) -> Preview:
        frame = next(shown) % video_x0.shape[2]
        return show(video_x0[:1, :, frame : frame + 1].float())

    return next_frame


def _chosen(latents_of: str | None) -> Callable[[Tensor], Preview] | None:
    """From one latent frame (1, 128, 1, H, W), float32, to its picture."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    if args.preview_method == LatentPreviewMethod.NoPreviews:
        return None
    decoder = _decoder_of(latents_of)
    if decoder is not None:

        @torch.no_grad()
        def decode(latent: Tensor) -> Preview:
            picture = decoder.to(latent.device)(latent[:, :, 0])[0].movedim(0, -1)
            levels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)
            return "JPEG", Image.fromarray(levels.numpy()), latent_preview.MAX_PREVIEW_RESOLUTION

        return decode
    latent_format = compat.preview_format()
    if latent_format is None:
        return None
    own = latent_preview.get_previewer(mm.get_torch_device(), latent_format)
    return None if own is None else lambda latent: own.decode_latent_to_preview_image("JPEG", latent)


def _decoder_of(latents_of: str | None):
    """The decoder for these latents among the files of models/vae_approx; one that is broken is passed by, and told in
    the log: a film needs no preview."""
    if latents_of is None:
        return None
    for name in folder_paths.get_filename_list(FOLDER):
        if not name.endswith(ENDING):
            continue
        try:
            file = SafetensorsFile.open(folder_paths.get_full_path_or_raise(FOLDER, name))
            if file.metadata.get(LATENTS_OF) == latents_of:
                return load_preview_decoder(file)
        except (CheckpointError, OSError) as error:
            log.warning("LTX Duo: no previews by %s: %s", name, error)
    return None
