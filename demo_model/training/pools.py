"""What the transformer learns from: clips as latents and their captions as text features, all on the device."""

import functools
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.text.negative_prompt import NEGATIVE_PROMPT
from ..world import Scene, caption
from . import audio_vae, video_vae
from .latents import alike, encode_sounds, encode_videos
from .run import Run
from .text_features import Components, Encoder, TextPool, text_pool

SHARE = 4  # clips that one caption fits
CAPTIONS = 4  # for each such group of clips


def stage_sizes(run: Run) -> tuple[int, int]:
    """Pixels of stage one and of the final clip."""
    return (32, 64) if run.small else (128, 256)


# What a caption is replaced by so that guidance has something to lead away from: nothing, and the node's default.
UNCONDITIONAL = ("", NEGATIVE_PROMPT)


@dataclass(frozen=True)
class Pools:
    """Groups of clips that differ in place only: videos by size and audio, (groups, SHARE, T, 128).

    Captions of group g are numbers g * CAPTIONS ... of `text`; the last ones are UNCONDITIONAL.
    """

    videos: dict[int, Tensor]
    audio: Tensor
    text: TextPool
    components: Components

    def captions(self, groups: Tensor, generator: torch.Generator, dropout: float) -> Tensor:
        """The number of a caption for each of `groups` (C,), an unconditional one with probability `dropout`."""
        device = generator.device
        which, dropped = torch.rand(2, len(groups), generator=generator, device=device)
        told = groups * CAPTIONS + (which * CAPTIONS).long().clamp(max=CAPTIONS - 1)
        last = len(self.text.lengths) - len(UNCONDITIONAL)
        untold = last + (which * len(UNCONDITIONAL)).long().clamp(max=len(UNCONDITIONAL) - 1)
        return torch.where(dropped < dropout, untold, told)


def groups_of_scenes(run: Run, count: int) -> list[list[Scene]]:
    """`count` groups of SHARE scenes that the same captions fit."""
    generator = random.Random(f"{run.seed}/alike")
    return [
        [scene, *(alike(scene, generator) for _ in range(SHARE - 1))] for scene in run.scenes("transformer", 0, count)
    ]


@functools.cache
def text_encoder(run: Run) -> Encoder:
    return Encoder.load(run.text_encoder, run.device)


@functools.cache
def pools(run: Run) -> Pools:
    """Drawn and encoded at the first call; `run.small` makes few."""
    count, larger = (24, 8) if run.small else (8192, 2048)
    sizes = dict(zip(stage_sizes(run), (count, larger), strict=True))
    groups = groups_of_scenes(run, count)
    words = random.Random(f"{run.seed}/captions")
    captions = [caption(group[0], words) for group in groups for _ in range(CAPTIONS)]
    text, components = text_pool(
        text_encoder(run), [*captions, *UNCONDITIONAL], None, run.generator("transformer", "components")
    )
    dtype = torch.bfloat16 if run.device.type == "cuda" else torch.float32
    encoder = video_vae.trained(run).encoder.to(dtype)
    videos = {
        size: encode_videos(encoder, sum(groups[:own], []), size, run.device, dtype).unflatten(0, (own, -1))
        for size, own in sizes.items()
    }
    audio_encoder = audio_vae.trained(run).encoder.to(dtype)
    audio = encode_sounds(audio_encoder, sum(groups, []), run.device, dtype).unflatten(0, (count, -1))
    return Pools(videos, audio, text, components)
