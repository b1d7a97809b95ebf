"""The distilled LoRA: stage two in three steps without guidance, from upsampled and renoised latents.

It learns on the very steps that the pipeline takes, each from what the one before has left.
"""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts
from ...ltx_core.sampling.patchify import patchify_video, unpatchify_audio, unpatchify_video
from ...ltx_core.sampling.schedule import STAGE_TWO
from ...ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ...ltx_core.upsampler import upsample_latent
from . import given
from .checkpoints import save_tensors, weights_path
from .families import WHOLE, Families, family_pools
from .flat_adamw import FlatAdamW
from .flow import TEXT_PLACES, Kind
from .given_flow import draw_clips
from .given_showing import held_out
from .latents import geometry
from .loop import Plan
from .lora_layers import LoraOps, as_learnt, new_student, official
from .network import Ropes, TextToAV
from .pools import SHARE, stage_sizes
from .run import Run
from .runs import Chosen, ChosenTimesteps
from .samples import CONTEXT, sample
from .showing import show_both_stages, upsampler, video_autoencoder
from .sizes import USED_CHANNELS
from .trainer import Trainer

PIECE = "lora"
FULL, SMALL = Plan(1715, 1e-3, warmup=50), Plan(12, 1e-2, warmup=2)
CONTEXTS = 8  # captions in a batch
ROUGH = (0.75, 0.6, 0.45, 0.3, 0.15, 0.0)  # how clips become like stage one's results: guided, from a middle level
_TOGETHER = 512


@dataclass
class Batch:
    """Clips (B, T, 128) at the final size: upsampled as stage two gets them, and drawn; audio; noise; text.

    video_mask (B, T), audio_mask (B, T'): True where tokens are made anew; the others are kept, of the video at the
    level low (B,) of the noise; of what is kept drawn and audio are the clean tokens.
    """

    upsampled: Tensor
    drawn: Tensor
    audio: Tensor
    video_noise: Tensor
    audio_noise: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    low: Tensor
    text: Tensor
    lengths: Tensor


def train(run: Run) -> None:
    """Trains the piece and leaves `lora.safetensors`, in the official layout."""
    data = family_pools(run)
    dtype = data.audio.dtype
    network, _ = given.trained(run)
    network = network.to(dtype)
    begun = like_stage_one(run, network, data)
    student = new_student(network.transformer, LoraOps, run.generator(PIECE, "weights"))
    plan = SMALL if run.small else FULL
    optimizer = FlatAdamW(student, dtype=dtype, rates=rates, clip=plan.clip, memory=0.99)
    size = stage_sizes(run)[1]
    kind = Kind(size, 2 if run.small else CONTEXTS, SHARE, CONTEXT)
    ropes = network.ropes(geometry(size), CONTEXT, run.device)

    def loss(kind: Kind, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            contexts = network.contexts(batch.text, batch.lengths, CONTEXT, ropes)
        prompt = GuidancePass("cond", *contexts)

        def velocities(video: ModalityInput, audio: ModalityInput) -> tuple[Tensor, Tensor]:
            return student(video, audio, [prompt])[0]

        return distillation_loss(velocities, batch, ropes)

    trainer = Trainer(
        run, PIECE, optimizer, plan,
        kind=lambda step: kind,
        draw=lambda step, kind: draw_batch(data, begun, kind, run.generator(PIECE, step)),
        loss=loss,
    )  # fmt: skip
    prompts = held_out(run, dtype).prompts

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        save_tensors(
            weights_path(run.out, PIECE), official({name: tensor.bfloat16() for name, tensor in averaged.items()})
        )
        refiner = as_learnt(student, LoraOps, averaged)
        numbers = show_both_stages(run, network, refiner, prompts, PIECE)
        sys.stdout.write(f"{PIECE} {step}: {json.dumps(numbers)}\n")

    trainer.train(look)


def rates(name: str) -> float:
    """What the learning rate is multiplied by: B, which begins as zero, learns faster (Hayou et al., 2024, LoRA+)."""
    return 4.0 if name.endswith("lora_B") else 1.0


@torch.no_grad()
def like_stage_one(run: Run, network: TextToAV, data: Families) -> Tensor:
    """The pool's clips as stage two meets them, (groups, clips, T, 128): made rough by the transformer, upsampled."""
    stage_one, final = stage_sizes(run)
    large = data.videos[final]
    count = large.shape[1]
    videos, audios = (pool[:, :count].flatten(0, 1) for pool in (data.videos[stage_one], data.audio))
    generator = run.generator(PIECE, "rough")
    vae = video_autoencoder(run, large.dtype)
    enlarge = upsampler(run, large.dtype)
    ropes = network.ropes(geometry(stage_one), CONTEXT, run.device)
    groups = torch.arange(len(large), device=run.device).repeat_interleave(count)
    captions = data.captions(groups, torch.full_like(groups, WHOLE), generator, 0.0)
    parts = []
    for start in range(0, len(videos), _TOGETHER):
        own = slice(start, start + _TOGETHER)
        pairs = [
            network.contexts(*data.text.take(numbers, TEXT_PLACES), CONTEXT, ropes)
            for numbers in (captions[own], data.unconditional[-1].expand(len(captions[own])))
        ]
        given = Contexts(*pairs[0], *pairs[1])
        initial = (
            unpatchify_video(videos[own], geometry(stage_one)),
            unpatchify_audio(audios[own]),
        )
        made, _ = sample(
            network.transformer, stage_one, given, generator,
            guidance=LTX_2_3_DEV, sigmas=torch.tensor(ROUGH), initial=initial,
        )  # fmt: skip
        parts.append(patchify_video(upsample_latent(enlarge, vae.encoder.per_channel_statistics, made)))
    return torch.cat(parts).unflatten(0, (-1, count))


def draw_batch(data: Families, begun: Tensor, kind: Kind, generator: torch.Generator) -> Batch:
    """Clips of which a part may be given, with captions of what is made anew."""
    clips = draw_clips(data, kind, 0.0, generator)
    groups, others, numbers = clips.numbers
    upsampled = torch.where(clips.video_mask[..., None], begun[groups, numbers], begun[others, numbers])
    noises = [
        torch.randn(tokens.shape, generator=generator, device=tokens.device, dtype=tokens.dtype)
        for tokens in (clips.video, clips.audio)
    ]
    text, lengths = data.text.take(clips.captions, TEXT_PLACES)
    return Batch(
        upsampled, clips.video, clips.audio, *noises, clips.video_mask, clips.audio_mask, clips.low, text, lengths
    )


def distillation_loss(
    velocities: Callable[[ModalityInput, ModalityInput], tuple[Tensor, Tensor]], batch: Batch, ropes: Ropes
) -> tuple[Tensor, Tensor]:
    """Errors of the clean video and audio that each of stage two's steps predicts, summed over the steps.

    No gradient flows from one step to the one before.
    """
    ones = torch.ones_like(batch.low)
    lows, masks = (batch.low, torch.zeros_like(batch.low)), (batch.video_mask, batch.audio_mask)
    levels = [torch.stack((low, ones), dim=1) for low in lows]
    anew = [Chosen(mask).spread(level.flatten()[:, None]) for mask, level in zip(masks, levels, strict=True)]
    # What is given as a whole has no noise anywhere.
    own = [mask.any(1).to(batch.low.dtype) for mask in masks]
    drawn = [batch.drawn.float(), batch.audio.float()]
    begun, noises = (batch.upsampled.float(), drawn[1]), (batch.video_noise.float(), batch.audio_noise.float())
    # As `noised` does it; what is kept is the drawn clip's own.
    states = [
        torch.lerp(clean, torch.lerp(start, noise, STAGE_TWO[0]), mask).to(batch.drawn.dtype)
        for clean, start, noise, mask in zip(drawn, begun, noises, anew, strict=True)
    ]
    sums = [0.0, 0.0]
    for sigma, following in itertools.pairwise(STAGE_TWO):
        inputs = [
            ModalityInput(state, ChosenTimesteps.of_mask(level * sigma, mask), share * sigma, rope)
            for state, level, mask, share, rope in zip(
                states, levels, masks, own, (ropes.video, ropes.audio), strict=True
            )
        ]
        for number, (velocity, used) in enumerate(zip(velocities(*inputs), (USED_CHANNELS, None), strict=True)):
            x0 = states[number].float() - velocity.float() * anew[number] * sigma
            sums[number] = sums[number] + F.mse_loss(x0[..., :used], drawn[number][..., :used])
            with torch.no_grad():
                kept = torch.lerp(drawn[number], x0, anew[number])
                states[number] = torch.lerp(kept, states[number].float(), following / sigma).to(batch.drawn.dtype)
    return sums[0], sums[1]
