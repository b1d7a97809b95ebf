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
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.upsampler import upsample_latent
from . import final_size
from .checkpoints import save_tensors, weights_path
from .flat_adamw import FlatAdamW
from .flow import TEXT_PLACES, Kind, draw_first_frames
from .latents import geometry
from .loop import Plan
from .lora_layers import LoraOps, begin, official
from .network import Ropes, TextToAV, attention
from .pools import SHARE, Pools, pools, stage_sizes
from .run import Run
from .runs import Runs, RunTimesteps
from .samples import CONTEXT, sample
from .showing import held_out, show_both_stages, upsampler, video_autoencoder
from .sizes import USED_CHANNELS, model_config
from .trainer import Trainer

PIECE = "lora"
FULL, SMALL = Plan(2386, 1e-3, warmup=50), Plan(12, 1e-2, warmup=2)
CONTEXTS = 8  # captions in a batch
ROUGH = (0.75, 0.6, 0.45, 0.3, 0.15, 0.0)  # how clips become like stage one's results: guided, from a middle level
_TOGETHER = 512


@dataclass
class Batch:
    """Clips (B, T, 128) at the final size: upsampled as stage two gets them, and drawn; audio; noise; text.

    masks (B,): of the first latent frame, 0 where an image is kept there.
    """

    upsampled: Tensor
    drawn: Tensor
    audio: Tensor
    video_noise: Tensor
    audio_noise: Tensor
    masks: Tensor
    text: Tensor
    lengths: Tensor


def train(run: Run) -> None:
    """Trains the piece and leaves `lora.safetensors`, in the official layout."""
    data = pools(run)
    dtype = data.audio.dtype
    network, _ = final_size.trained(run)
    network = network.to(dtype)
    begun = like_stage_one(run, network, data)
    student = AVTransformer(
        TransformerParams.from_config(model_config(run.small)), attention=attention, ops=LoraOps, device=run.device
    )
    student.load_state_dict(network.transformer.state_dict(), strict=False)
    begin(student.to(dtype), run.generator(PIECE, "weights"))
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

        return distillation_loss(velocities, batch, ropes, geometry(kind.size).frame_tokens)

    trainer = Trainer(
        run, PIECE, optimizer, plan,
        kind=lambda step: kind,
        draw=lambda step, kind: draw_batch(data, begun, kind, run.generator(PIECE, step)),
        loss=loss,
    )  # fmt: skip
    prompts = held_out(run, data.components)

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        save_tensors(
            weights_path(run.out, PIECE), official({name: tensor.bfloat16() for name, tensor in averaged.items()})
        )
        refiner = AVTransformer(student.params, attention=attention, ops=LoraOps, device=run.device).to(dtype)
        refiner.load_state_dict({**student.state_dict(), **averaged})
        numbers = show_both_stages(run, network, refiner.requires_grad_(False), prompts, PIECE)
        sys.stdout.write(f"{PIECE} {step}: {json.dumps(numbers)}\n")

    trainer.train(look)


def rates(name: str) -> float:
    """What the learning rate is multiplied by: B, which begins as zero, learns faster (Hayou et al., 2024, LoRA+)."""
    return 4.0 if name.endswith("lora_B") else 1.0


@torch.no_grad()
def like_stage_one(run: Run, network: TextToAV, data: Pools) -> Tensor:
    """The pool's clips as stage two meets them, (groups, SHARE, T, 128): made rough by the transformer, upsampled."""
    stage_one, final = stage_sizes(run)
    large = data.videos[final]
    videos, audios = (pool[: len(large)].flatten(0, 1) for pool in (data.videos[stage_one], data.audio))
    generator = run.generator(PIECE, "rough")
    vae = video_autoencoder(run, large.dtype)
    enlarge = upsampler(run, large.dtype)
    ropes = network.ropes(geometry(stage_one), CONTEXT, run.device)
    last = len(data.text.lengths) - 1
    groups = torch.arange(len(large), device=run.device).repeat_interleave(SHARE)
    captions = data.captions(groups, generator, 0.0)
    parts = []
    for start in range(0, len(videos), _TOGETHER):
        own = slice(start, start + _TOGETHER)
        pairs = [
            network.contexts(*data.text.take(numbers, TEXT_PLACES), CONTEXT, ropes)
            for numbers in (captions[own], torch.full_like(captions[own], last))
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
    return torch.cat(parts).unflatten(0, (-1, SHARE))


def draw_batch(data: Pools, begun: Tensor, kind: Kind, generator: torch.Generator) -> Batch:
    """Clips with their own captions; in a third of them an image is kept."""
    device = generator.device
    drawn = data.videos[kind.size]
    groups = torch.randint(len(drawn), (kind.contexts,), generator=generator, device=device)
    upsampled, drawn, audio = (pool[groups].flatten(0, 1) for pool in (begun, drawn, data.audio))
    noises = [
        torch.randn(tokens.shape, generator=generator, device=device, dtype=tokens.dtype) for tokens in (drawn, audio)
    ]
    masks = draw_first_frames(torch.ones(kind.samples, device=device), generator)[:, 0]
    text, lengths = data.text.take(data.captions(groups, generator, 0.0), TEXT_PLACES)
    return Batch(upsampled, drawn, audio, *noises, masks, text, lengths)


def distillation_loss(
    velocities: Callable[[ModalityInput, ModalityInput], tuple[Tensor, Tensor]],
    batch: Batch,
    ropes: Ropes,
    first: int,
) -> tuple[Tensor, Tensor]:
    """Errors of the clean video and audio that each of stage two's steps predicts, summed over the steps.

    `first` tokens are the first latent frame's.  No gradient flows from one step to the one before.
    """
    lengths = first, batch.drawn.shape[1] - first
    levels = torch.stack((batch.masks, torch.ones_like(batch.masks)), dim=1)
    mask = Runs(lengths).spread(levels.flatten()[:, None])
    drawn, audio_drawn = batch.drawn.float(), batch.audio.float()
    # As `noised` does it; what an image keeps is the drawn clip's own first frame.
    mixed = torch.lerp(batch.upsampled.float(), batch.video_noise.float(), STAGE_TWO[0])
    video = torch.lerp(drawn, mixed, mask).to(batch.drawn.dtype)
    audio = torch.lerp(audio_drawn, batch.audio_noise.float(), STAGE_TWO[0]).to(batch.audio.dtype)
    sums = [0.0, 0.0]
    for sigma, following in itertools.pairwise(STAGE_TWO):
        sigmas = torch.full_like(batch.masks, sigma)
        video_velocity, audio_velocity = velocities(
            ModalityInput(video, RunTimesteps.of_runs((levels * sigma).flatten(), *lengths), sigmas, ropes.video),
            ModalityInput(audio, RunTimesteps.of_runs(sigmas, audio.shape[1]), sigmas, ropes.audio),
        )
        video_x0 = video.float() - video_velocity.float() * mask * sigma
        audio_x0 = audio.float() - audio_velocity.float() * sigma
        sums[0] = sums[0] + F.mse_loss(video_x0[..., :USED_CHANNELS], drawn[..., :USED_CHANNELS])
        sums[1] = sums[1] + F.mse_loss(audio_x0, audio_drawn)
        with torch.no_grad():
            kept = torch.lerp(drawn, video_x0, mask)
            video = torch.lerp(kept, video.float(), following / sigma).to(video.dtype)
            audio = torch.lerp(audio_x0, audio.float(), following / sigma).to(audio.dtype)
    return sums[0], sums[1]
