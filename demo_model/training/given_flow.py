"""Rectified flow where something is given: what is kept is clean and its noise level is 0, or that of an image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.transformer.inputs import ModalityInput
from .families import NEITHER, NO_SHAPE, WHOLE, Families
from .flow import TEXT_PLACES, Kind, draw_sigmas, noisy
from .given_masks import FILM, SOUND, draw_masks, draw_tasks
from .network import Ropes, TextToAV
from .runs import ChosenTimesteps
from .sizes import USED_CHANNELS

TOLD = (0.4, 0.35, 0.25)  # with the sound or the film given: all, no shape, neither shape nor motion


@dataclass
class Batch:
    """What the network reads and should answer; first dimension B = contexts * share, or C = contexts.

    video, audio: noisy tokens (B, T, 128); their levels (B, 2), of what is kept and of what is made anew, which the
    masks (B, T) tell; their sigmas (B,), 0 where nothing is made anew; text (C, T, K) and lengths (C,); targets:
    velocities.
    """

    video: Tensor
    audio: Tensor
    video_levels: Tensor
    audio_levels: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    video_sigmas: Tensor
    audio_sigmas: Tensor
    text: Tensor
    lengths: Tensor
    video_target: Tensor
    audio_target: Tensor


@dataclass(frozen=True)
class Clips:
    """Clips (B, T, 128) of which a part is another's, with the masks that tell which; captions (C,) and numbers:
    groups, other groups and clips, each (B,)."""

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    low: Tensor
    captions: Tensor
    numbers: tuple[Tensor, Tensor, Tensor]


def draw_clips(data: Families, kind: Kind, dropout: float, generator: torch.Generator) -> Clips:
    """Of one task for each caption, and a part to make anew for each clip."""
    device, videos = generator.device, data.videos[kind.size]
    told = torch.randint(len(videos), (kind.contexts,), generator=generator, device=device)
    clips = torch.rand(kind.contexts, videos.shape[1], generator=generator, device=device).argsort(1)[:, : kind.share]
    clips = clips.flatten()
    tasks = draw_tasks(kind.contexts, generator)
    less = torch.rand(kind.contexts, generator=generator, device=device)
    edges = torch.tensor(TOLD, device=device).cumsum(0)[:-1]
    telling = torch.tensor((WHOLE, NO_SHAPE, NEITHER), device=device)[torch.bucketize(less, edges)]
    telling = torch.where((tasks == SOUND) | (tasks == FILM), telling, WHOLE)
    groups = told.repeat_interleave(kind.share)
    family = groups[:, None] ^ torch.arange(4, device=device)
    both = torch.stack((data.paths[family, clips[:, None]], data.paths[groups, clips][:, None].expand(-1, 4, -1)))
    boxes = torch.cat((both[..., :2].amin(0), both[..., 2:].amax(0)), dim=-1)
    masks = draw_masks(tasks.repeat_interleave(kind.share), boxes, kind.size, generator)
    others = groups ^ masks.other
    video, audio = (
        torch.where(mask[..., None], pool[groups, clips], pool[others, clips])
        for pool, mask in ((videos, masks.video), (data.audio, masks.audio))
    )
    captions = data.captions(told, telling, generator, dropout)
    return Clips(video, audio, masks.video, masks.audio, masks.low, captions, (groups, others, clips))


def draw_batch(data: Families, kind: Kind, dropout: float, generator: torch.Generator) -> Batch:
    """Clips and captions of the pools, at noise levels of their own."""
    clips = draw_clips(data, kind, dropout, generator)
    sigmas = draw_sigmas(kind.contexts, generator).repeat_interleave(kind.share)
    levels = (torch.stack((sigmas * clips.low, sigmas), 1), torch.stack((torch.zeros_like(sigmas), sigmas), 1))
    masks = (clips.video_mask, clips.audio_mask)
    noisies = [
        noisy(clean, torch.where(mask, level[:, 1:], level[:, :1])[..., None], generator, used)
        for clean, level, mask, used in zip(
            (clips.video, clips.audio), levels, masks, (USED_CHANNELS, clips.audio.shape[-1]), strict=True
        )
    ]
    text, lengths = data.text.take(clips.captions, min(kind.places, TEXT_PLACES))
    (video, video_target), (audio, audio_target) = noisies
    own = [sigmas * mask.any(1) for mask in masks]
    return Batch(video, audio, *levels, *masks, *own, text, lengths, video_target, audio_target)


def inputs(batch: Batch, ropes: Ropes) -> tuple[ModalityInput, ModalityInput]:
    """Video and audio as the transformer reads them."""
    timesteps = [
        ChosenTimesteps.of_mask(levels, mask)
        for levels, mask in ((batch.video_levels, batch.video_mask), (batch.audio_levels, batch.audio_mask))
    ]
    return (
        ModalityInput(batch.video, timesteps[0], batch.video_sigmas, ropes.video),
        ModalityInput(batch.audio, timesteps[1], batch.audio_sigmas, ropes.audio),
    )


def velocities(network: TextToAV, batch: Batch, kind: Kind, ropes: Ropes) -> tuple[Tensor, Tensor]:
    """What the network answers for video and audio."""
    contexts = network.contexts(batch.text, batch.lengths, kind.places, ropes)
    return network(*inputs(batch, ropes), contexts, **kind.guidance)


def flow_loss(answer: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean squared errors of the velocities of video and audio; what is kept and unused channels do not count."""
    terms = []
    for own, target, mask, levels, used in (
        (answer[0], batch.video_target, batch.video_mask, batch.video_levels, USED_CHANNELS),
        (answer[1], batch.audio_target, batch.audio_mask, batch.audio_levels, answer[1].shape[-1]),
    ):
        weights = (mask | (levels[:, :1] > 0)).float()
        errors = (own.float() - target.float())[..., :used].square().mean(-1)
        terms.append((errors * weights).sum() / weights.sum().clamp(min=1))
    return terms[0], terms[1]
