"""Stages begun and sampled with the fewest words, for tests that look at one step of it."""

from collections.abc import Sequence

import torch

from ltx_duo.ltx_core.progress import SILENT
from ltx_duo.ltx_core.sampling.conditions import Condition
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.stage import Stage, Start, begin
from ltx_duo.ltx_core.sampling.state import AVState


def start_stage(
    geometry: LatentGeometry,
    generator: torch.Generator,
    *,
    images: Sequence[Condition] = (),
    noise_scale: float = 1.0,
    video_latent: torch.Tensor | None = None,
    audio_latent: torch.Tensor | None = None,
    with_audio: bool = True,
    **placement,
) -> AVState:
    """The noised state of a stage without guidance."""
    video = Start(video_latent, noise_scale, tuple(images))
    audio = Start(audio_latent, noise_scale) if with_audio else None
    return begin(Stage(geometry, torch.tensor([1.0, 0.0]), video, audio), generator, **placement)


def run_sampler(sampler, model, state, sigmas, guidance, contexts, reporter=SILENT, **options) -> AVState:
    """A sampler's run of a model over a state that has begun."""
    return sampler(guided_denoiser(model, state, guidance, contexts, reporter), state, sigmas, reporter, **options)
