"""How a stage begins: a geometry, images, and noise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .conditioning import ImageLatent, apply_images
from .geometry import LatentGeometry
from .noise import add_noise
from .state import AVState, audio_state, video_state


def start_stage(
    geometry: LatentGeometry,
    generator: torch.Generator,
    *,
    images: Sequence[ImageLatent] = (),
    noise_scale: float = 1.0,
    video_latent: Tensor | None = None,
    audio_latent: Tensor | None = None,
    with_audio: bool = True,
    keep_background: bool = True,
    noise_dtype: torch.dtype | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> AVState:
    """The noised state from which a stage is sampled.

    Stage one starts from nothing at noise scale 1.  Stage two starts from the upsampled video latent and stage one's
    audio latent at noise scale sigma_0, with the clean background kept.  The images are encoded at this stage's size.
    Draws from `generator` for video (appended keyframe tokens included), then for audio.
    """
    batch = 1 if video_latent is None else video_latent.shape[0]
    factory = {"batch": batch, "dtype": dtype, "device": device}
    reporter.check_cancel()
    video = video_state(geometry, initial=video_latent, keep_background=keep_background, **factory)
    video = apply_images(video, images, geometry)
    audio = audio_state(geometry, initial=audio_latent, **factory) if with_audio else None
    return add_noise(AVState(geometry, video, audio), generator, noise_scale, noise_dtype, reporter)
