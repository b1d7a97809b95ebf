"""ComfyUI's LATENT with picture and sound: taking it apart, putting it together, and what travels with it.

`samples` is ComfyUI's own NestedTensor((video, audio)), normalised, so native LTX-2 nodes and ours can be mixed.  What
our stages know beyond the tensors lies beside it in the dict; nodes that copy the dict pass it on, nodes that build a
new one lose it, and then the fallbacks here apply.
"""

import logging
import math
from dataclasses import dataclass

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError, GeometryError
from ...ltx_core.sampling.geometry import (
    AUDIO_BINS,
    AUDIO_CHANNELS,
    AUDIO_LATENTS_PER_SECOND,
    TEMPORAL_FACTOR,
    VIDEO_CHANNELS,
)
from . import compat

log = logging.getLogger("ltx_duo")

KEY = "ltx_duo"
COMMON_FPS = (24.0, 25.0, 30.0, 50.0, 60.0, 48.0, 15.0, 16.0, 12.0)
MOST_AUDIO_DIFFERENCE = 2


@dataclass(frozen=True, eq=False)
class StageInfo:
    """What stage one knows and later nodes need: the frame rate and where its random numbers stopped."""

    fps: float
    generator_device: str
    generator_state: Tensor


def make(video: Tensor, audio: Tensor | None, info: StageInfo | None, like: dict | None = None) -> dict:
    """A LATENT of video (1, 128, F, H, W) and audio (1, 8, T, 16): float32, on ComfyUI's intermediate device."""
    tensors = [_settled(tensor) for tensor in (video, audio) if tensor is not None]
    latent = {key: value for key, value in (like or {}).items() if key not in ("samples", "noise_mask", KEY)}
    latent["samples"] = compat.nested_tensor_class()(tensors) if audio is not None else tensors[0]
    if info is not None:
        latent[KEY] = info
    return latent


def take(latent: dict) -> tuple[Tensor, Tensor | None]:
    """Video (1, 128, F, H, W) and audio (1, 8, T, 16), or None for a latent without sound, of a LATENT.

    GeometryError for latents of another kind; ConditioningError for masks, which these samplers do not take.
    """
    samples = latent["samples"]
    video, audio = tuple(samples.unbind())[:2] if getattr(samples, "is_nested", False) else (samples, None)
    if video.ndim != 5 or video.shape[:2] != (1, VIDEO_CHANNELS):
        raise GeometryError(
            f"The latent holds a video of shape {tuple(video.shape)}; expected (1, {VIDEO_CHANNELS}, frames, height, "
            "width) of LTX-2. Connect an LTX latent; batches are not supported."
        )
    if audio is not None and (
        audio.ndim != 4 or audio.shape[:2] != (1, AUDIO_CHANNELS) or audio.shape[3] != AUDIO_BINS
    ):
        raise GeometryError(
            f"The latent holds sound of shape {tuple(audio.shape)}; expected (1, {AUDIO_CHANNELS}, T, {AUDIO_BINS})."
        )
    if _masked(latent.get("noise_mask")):
        raise ConditioningError(
            "The latent has a noise mask, which LTX Duo's samplers do not take. "
            "Give images through LTX Image Condition."
        )
    return video, audio


def info_of(latent: dict) -> StageInfo | None:
    """What stage one left in the latent; None for latents that came another way."""
    info = latent.get(KEY)
    return info if isinstance(info, StageInfo) else None


def fps_of(latent: dict, conditioning: list | None = None) -> float:
    """The latent's frame rate.

    Native latents carry none: then it is the conditioning's `frame_rate` (LTXVConditioning sets it), else the common
    rate that fits the length of the sound, else 24, each with a warning.
    """
    info = info_of(latent)
    if info is not None:
        return info.fps
    rate = conditioning[0][1].get("frame_rate") if conditioning else None
    fps = float(rate) if rate else _fps_of_sound(*take(latent))
    log.warning("LTX Duo: this latent carries no frame rate; using %g frames a second.", fps)
    return fps


def _fps_of_sound(video: Tensor, audio: Tensor | None) -> float:
    frames = (video.shape[2] - 1) * TEMPORAL_FACTOR + 1
    for fps in COMMON_FPS:
        exact = frames / fps * AUDIO_LATENTS_PER_SECOND
        if audio is None or audio.shape[2] in (round(exact), math.ceil(exact)):
            return fps
    return COMMON_FPS[0]


def with_audio_length(audio: Tensor, length: int) -> Tensor:
    """Sound (1, 8, T, 16) cut or extended to `length` latents; native nodes round the length up, the vendor to nearest.

    GeometryError when it is off by more than rounding: then it is the sound of another video.
    """
    found = audio.shape[2]
    if abs(found - length) > MOST_AUDIO_DIFFERENCE:
        raise GeometryError(
            f"The latent's sound has {found} latents, the video's length asks for {length}. Use picture and sound of "
            "the same number of frames and frame rate."
        )
    if found < length:
        return torch.cat((audio, audio[:, :, -1:].expand(-1, -1, length - found, -1)), dim=2)
    return audio[:, :, :length]


def _settled(tensor: Tensor) -> Tensor:
    """A tensor of its own, float32, contiguous, on the intermediate device: never a view of a larger one."""
    settled = tensor.detach().to(device=mm.intermediate_device(), dtype=torch.float32).contiguous()
    return settled.clone() if settled.untyped_storage().nbytes() > settled.nbytes else settled


def _masked(mask) -> bool:
    if mask is None:
        return False
    parts = mask.unbind() if getattr(mask, "is_nested", False) else [mask]
    return any(bool((part != 1).any()) for part in parts)
