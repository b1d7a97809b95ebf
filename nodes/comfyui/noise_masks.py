"""Noise masks on a LATENT, as core's nodes set and read them: 1 is made anew, 0 stays."""

import comfy.utils
import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError
from ...ltx_core.sampling.conditions import Kept
from ...ltx_core.sampling.stage import AVLatent
from . import compat

KEY = "noise_mask"
_HAIR = 1e-4  # scaling a mask rounds


def kept(latent: dict, start: AVLatent) -> tuple[Kept | None, Kept | None]:
    """What of picture and sound the latent's noise masks keep, by `start`, its tensors as a stage takes them; None for
    a stream that is made anew as a whole.

    Masks of another size are scaled as core scales them.  ConditioningError for what is no mask, and for a sound's mask
    that differs by pitch, which no stage can keep.
    """
    masks = _masks(latent)
    picture = None if not masks else _of_picture(masks[0], start.video)
    sound = None if len(masks) < 2 or start.audio is None else _of_sound(masks[1], start.audio)
    return tuple(
        None if mask is None or (mask == 1).all() else Kept(tensor, mask)
        for tensor, mask in ((start.video, picture), (start.audio, sound))
    )


def keeps_sound(latent: dict) -> bool:
    """Whether the sound of the latent stays as a whole."""
    masks = _masks(latent)
    return len(masks) == 2 and not masks[1].any()


def entry(video: Tensor, audio: Tensor | None, picture: Tensor | None, sound: Tensor | None) -> dict:
    """The entry of a LATENT of `video` (1, 128, F, H, W) and `audio` (1, 8, T, 16) that says what of them is kept:
    picture (1, F, H, W), sound (1, T), None where all is made anew."""
    if picture is None and sound is None:
        return {}
    ones = torch.ones(1, 1, *video.shape[2:])
    masks = [ones if picture is None else picture[:, None].cpu().float()]
    if audio is None:
        return {KEY: masks[0]}
    ones = torch.ones(1, 1, *audio.shape[2:])
    masks.append(ones if sound is None else ones * sound[:, None, :, None].cpu())
    return {KEY: compat.nested_tensor_class()(masks)}


def enlarged(latent: dict, video: Tensor) -> dict:
    """The entry of a LATENT whose picture was enlarged to `video`, from the one before: a mask of cells grows with
    them."""
    masks = _masks(latent)
    if not masks:
        return {}
    picture = masks[0]
    if picture.ndim == 5:
        picture = torch.nn.functional.interpolate(picture.float(), size=video.shape[2:], mode="nearest-exact")
    return {KEY: picture if len(masks) == 1 else compat.nested_tensor_class()((picture, masks[1]))}


def _masks(latent: dict) -> tuple[Tensor, ...]:
    """The noise masks: of picture and sound where core joined both, else one of the picture, or none."""
    mask = latent.get(KEY)
    return () if mask is None else tuple(mask.unbind()) if getattr(mask, "is_nested", False) else (mask,)


def _of_picture(mask: Tensor, video: Tensor) -> Tensor:
    """(1, F', H', W')."""
    return _scaled(mask, video, "picture").amax(1)


def _of_sound(mask: Tensor, audio: Tensor) -> Tensor:
    """(1, T)."""
    scaled = _scaled(mask, audio, "sound")
    lowest, highest = (reduce(scaled, (1, 3)) for reduce in (torch.amin, torch.amax))
    if (highest - lowest).max() > _HAIR:
        raise ConditioningError(
            "The noise mask of the sound differs by pitch; a stage keeps a sound or makes it anew from one moment to "
            "another. Give a mask that is the same over its height."
        )
    return highest


def _scaled(mask: Tensor, latent: Tensor, what: str) -> Tensor:
    """The mask for every value of a latent, (1, C, ...)."""
    if mask.min() == -1:
        raise ConditioningError(
            f"The noise mask of the {what} has holes (-1), as LTXVAddGuide leaves them for guides of another size, "
            "which LTX Duo does not read. Take that node out, and give the guide through LTX Reference Video."
        )
    if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
        raise ConditioningError(f"The noise mask of the {what} leaves 0 to 1: 1 is made anew, 0 stays.")
    scaled = comfy.utils.reshape_mask(mask.float(), latent.shape)[:1]
    return scaled.where(scaled < 1 - _HAIR, 1.0).where(scaled > _HAIR, 0.0)
