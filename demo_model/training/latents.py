"""Latents of drawn clips, encoded once for a whole training."""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...ltx_core.audio_vae import AudioEncoder
from ...ltx_core.audio_vae.mel import waveform_to_mel
from ...ltx_core.sampling.geometry import LatentGeometry
from ...ltx_core.sampling.patchify import patchify_audio, patchify_video
from ..world import Scene, draw_scene, render, sound
from ..world.scenes import FPS, FRAMES

Encode = Callable[[Tensor], Tensor]  # pixels (B, 3, F, H, W) in [-1, 1] -> normalised latents

_PIXELS_TOGETHER = 2**26
_SOUNDS_TOGETHER = 256


def geometry(size: int) -> LatentGeometry:
    """Of a square clip of the drawn world."""
    return LatentGeometry(size, size, FRAMES, FPS)


def alike(scene: Scene, generator: random.Random) -> Scene:
    """Another scene that the same captions fit: only place and first turn are drawn anew."""
    told = ("shape", "colour", "background", "motion", "size")
    return draw_scene(generator, **{name: getattr(scene, name) for name in told})


@torch.no_grad()
def encode_videos(
    encode: Encode, scenes: Sequence[Scene], size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Tokens (scenes, T, 128) of the scenes drawn at size x size pixels."""
    step = max(1, _PIXELS_TOGETHER // (FRAMES * size * size))
    parts = []
    for start in range(0, len(scenes), step):
        pixels = render(list(scenes[start : start + step]), size, size, device=device)
        parts.append(patchify_video(encode(pixels.to(dtype))).to(dtype))
    return torch.cat(parts)


@torch.no_grad()
def encode_sounds(encoder: AudioEncoder, scenes: Sequence[Scene], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Tokens (scenes, T, 128), as many as the video's length asks for."""
    params, count, parts = encoder.params, geometry(64).audio_frames, []
    for start in range(0, len(scenes), _SOUNDS_TOGETHER):
        waveform = sound(
            list(scenes[start : start + _SOUNDS_TOGETHER]), sample_rate=params.sampling_rate, device=device
        )
        mel = waveform_to_mel(waveform, params.sampling_rate, params)
        parts.append(patchify_audio(encoder(mel.to(dtype))[:, :, :count]).to(dtype))
    return torch.cat(parts)
