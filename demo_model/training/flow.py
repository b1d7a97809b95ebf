"""Rectified flow as inference has it: noisy tokens at a noise level each, and the velocity (noise minus data) there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...ltx_core.transformer.inputs import ModalityInput
from .latents import geometry
from .network import Ropes, TextToAV
from .pools import Pools
from .runs import Runs, RunTimesteps
from .sizes import USED_CHANNELS

TEXT_PLACES = 128  # more than the longest caption has tokens
SHIFT = 2.05  # of the schedule that the pipelines use whatever the size, see `ltx2_sigmas`


@dataclass(frozen=True)
class Kind:
    """One kind of batch: `contexts` captions with `share` clips each, all of one noise level; places of the contexts.

    isolated: without attention between picture and sound; bypassed: blocks whose self-attention is left out.
    """

    size: int
    contexts: int
    share: int
    places: int
    isolated: bool = False
    bypassed: frozenset[int] = frozenset()

    @property
    def samples(self) -> int:
        return self.contexts * self.share

    @property
    def guidance(self) -> dict:
        blocks = {"perturbed_video_blocks": self.bypassed, "perturbed_audio_blocks": self.bypassed}
        return {"isolated": self.isolated, **blocks}


@dataclass
class Batch:
    """What the network reads and should answer; first dimension B = contexts * share, or C = contexts.

    video, audio: noisy tokens (B, T, 128); sigmas (B,); video_timesteps (B, 2): of the first latent frame and the rest;
    text (C, T, K) and lengths (C,); video_target, audio_target: velocities; first_weight (B,): 0 where the first frame
    is given.
    """

    video: Tensor
    audio: Tensor
    sigmas: Tensor
    video_timesteps: Tensor
    text: Tensor
    lengths: Tensor
    video_target: Tensor
    audio_target: Tensor
    first_weight: Tensor


def draw_sigmas(count: int, generator: torch.Generator) -> Tensor:
    """(count,) noise levels: half lie as the inference's schedule does, half evenly; stratified, in random order."""
    device = generator.device
    order = torch.rand(count, generator=generator, device=device).argsort()
    even = (order + torch.rand(count, generator=generator, device=device)) / count
    twice = 2 * even
    shift = math.exp(SHIFT)
    shifted = shift / (shift + 1 / twice.clamp(1e-4, 1.0) - 1)
    return torch.where(twice < 1, shifted, twice - 1).clamp(0.01, 1.0)


def draw_first_frames(sigmas: Tensor, generator: torch.Generator, share: float = 0.35) -> Tensor:
    """(B, 2): noise levels of the first latent frame and of the rest.

    In `share` of the samples an image is given, mostly kept as it is (strength 1), else at a strength between.
    """
    device = generator.device
    given, firm, strength = torch.rand(3, len(sigmas), generator=generator, device=device)
    strength = torch.where(firm < 0.6, 1.0, strength)
    mask = torch.where(given < share, 1 - strength, 1.0)
    return torch.stack((sigmas * mask, sigmas), dim=1)


def noisy(clean: Tensor, levels: Tensor, generator: torch.Generator, used: int = 128) -> tuple[Tensor, Tensor]:
    """(1 - level) * clean + level * noise for tokens (B, T, 128), levels (B, T, 1) or (B, 1, 1); and noise - clean.

    There is noise in the first `used` channels.
    """
    noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    noise[..., used:] = 0
    mixed = torch.lerp(clean.float(), noise.float(), levels)
    return mixed.to(clean.dtype), (noise.float() - clean.float()).to(clean.dtype)


def draw_batch(pools: Pools, kind: Kind, dropout: float, generator: torch.Generator) -> Batch:
    """Clips and captions of the pools, at noise levels of their own."""
    device = generator.device
    videos = pools.videos[kind.size]
    groups = torch.randint(len(videos), (kind.contexts,), generator=generator, device=device)
    # Which of the group's clips: all of them, or some by lot.
    clips = torch.rand(kind.contexts, videos.shape[1], generator=generator, device=device).argsort(1)[:, : kind.share]
    sigmas = draw_sigmas(kind.contexts, generator).repeat_interleave(kind.share)
    levels = draw_first_frames(sigmas, generator)
    text, lengths = pools.text.take(pools.captions(groups, generator, dropout), min(kind.places, TEXT_PLACES))
    video, video_target = noisy(
        videos[groups[:, None], clips].flatten(0, 1), token_levels(levels, kind.size), generator, USED_CHANNELS
    )
    audio, audio_target = noisy(pools.audio[groups[:, None], clips].flatten(0, 1), sigmas[:, None, None], generator)
    given = (levels[:, 0] == 0).to(torch.float32)
    return Batch(video, audio, sigmas, levels, text, lengths, video_target, audio_target, 1 - given)


def token_levels(levels: Tensor, size: int) -> Tensor:
    """(B, 2) -> (B, T, 1)."""
    first = geometry(size).frame_tokens
    rest = geometry(size).video_tokens - first
    return Runs((first, rest)).spread(levels.flatten()[:, None])


def velocities(network: TextToAV, batch: Batch, kind: Kind, ropes: Ropes) -> tuple[Tensor, Tensor]:
    """What the network answers for video and audio."""
    first = geometry(kind.size).frame_tokens
    contexts = network.contexts(batch.text, batch.lengths, kind.places, ropes)
    timesteps = RunTimesteps.of_runs(batch.video_timesteps.flatten(), first, batch.video.shape[1] - first)
    video = ModalityInput(batch.video, timesteps, batch.sigmas, ropes.video)
    timesteps = RunTimesteps.of_runs(batch.sigmas, batch.audio.shape[1])
    audio = ModalityInput(batch.audio, timesteps, batch.sigmas, ropes.audio)
    return network(video, audio, contexts, **kind.guidance)


def flow_loss(answer: tuple[Tensor, Tensor], batch: Batch, size: int) -> tuple[Tensor, Tensor]:
    """Mean squared errors of the velocities of video and audio; given first frames and unused channels do not count."""
    first = geometry(size).frame_tokens
    errors = (answer[0].float() - batch.video_target.float())[..., :USED_CHANNELS].square().mean(-1)
    weights = torch.cat((batch.first_weight[:, None].expand(-1, first), torch.ones_like(errors[:, first:])), dim=1)
    video = (errors * weights).sum() / weights.sum()
    return video, F.mse_loss(answer[1].float(), batch.audio_target.float())
