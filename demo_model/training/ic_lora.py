"""An IC-LoRA: the picture follows a reference film, the outline of what moves, at half the stage's size.

Prompts tell the colour, and half of them the shape, but not the motion.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...ltx_core.sampling.conditions.reference import Reference
from ...ltx_core.sampling.geometry import SPATIAL_FACTOR
from ...ltx_core.sampling.patchify import patchify_video, unpatchify_video
from ...ltx_core.sampling.schedule import ltx2_sigmas
from ...ltx_core.sampling.state import video_state
from ...ltx_core.transformer.inputs import GuidancePass
from ...ltx_core.transformer.model import AVTransformer
from ..detectors import seen
from ..world import Scene, outline, render
from . import given, given_flow
from .checkpoints import save_tensors, weights_path
from .families import FULL as FAMILIES
from .families import NEITHER, NO_MOTION, Families, families, family_pools
from .families import SMALL as FEW_FAMILIES
from .flat_adamw import FlatAdamW
from .flow import TEXT_PLACES, Kind, draw_sigmas, noisy
from .given_flow import Batch
from .given_showing import Films, held_out
from .latents import geometry
from .loop import Plan
from .lora import rates
from .lora_layers import LoraLinear, as_learnt, new_student, official
from .network import Ropes, TextToAV
from .pools import SHARE, stage_sizes
from .report import save_numbers
from .run import Run
from .samples import CONTEXT, contexts, judged, sample
from .showing import sheet, video_autoencoder
from .sizes import USED_CHANNELS
from .trainer import Trainer

PIECE = "ic-lora"
FACTOR = 2  # the stage's size to the reference's
METADATA = {"reference_downscale_factor": str(FACTOR)}
FULL, SMALL = Plan(14_813, 1e-3, warmup=50), Plan(12, 1e-2, warmup=2)
CONTEXTS = (24, 8)  # captions in a batch of each size
LARGER = 0.25  # share of the steps at the final size
DROPOUT = 0.1
SHOWN = 50  # logs between two looks at samples
_PIXELS_TOGETHER = 2**26


class OutlineLinear(LoraLinear):
    rank = 24


class OutlineOps:
    Linear = OutlineLinear


@dataclass(frozen=True)
class References:
    """Outlines beside the families' clips of one size: tokens (groups, clips, M, 128), positions (1, 3, T + M, 2) of
    the clip's tokens and the reference's, and with them the rotary tables."""

    tokens: Tensor
    positions: Tensor
    ropes: Ropes


def train(run: Run) -> None:
    """Trains the piece and leaves `ic-lora.safetensors`, in the official layout."""
    data = family_pools(run)
    dtype = data.audio.dtype
    network = given.trained(run)[0].to(dtype)
    student = new_student(network.transformer, OutlineOps, run.generator(PIECE, "weights"))
    plan = SMALL if run.small else FULL
    optimizer = FlatAdamW(student, dtype=dtype, rates=rates, clip=plan.clip, memory=0.99)
    beside = references(run, network, data)
    sizes = sorted(beside)
    kinds = [
        Kind(size, 2 if run.small else count, SHARE, CONTEXT) for size, count in zip(sizes, CONTEXTS, strict=False)
    ]

    def kind(step: int) -> Kind:
        return kinds[-1 if random.Random(f"{run.seed}/{PIECE}/{step}").random() < LARGER else 0]

    def loss(kind: Kind, batch: Batch) -> tuple[Tensor, Tensor]:
        ropes = beside[kind.size].ropes
        with torch.no_grad():
            prompt = GuidancePass("cond", *network.contexts(batch.text, batch.lengths, CONTEXT, ropes))
        return given_flow.flow_loss(student(*given_flow.inputs(batch, ropes), [prompt])[0], batch)

    films, size = held_out(run, dtype), sizes[0]
    shown_beside = encode_outlines(run, films.scenes.first, size, dtype), beside[size].positions[:, :, -_own(size) :]

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        rounded = {name: tensor.bfloat16() for name, tensor in averaged.items()}
        save_tensors(weights_path(run.out, PIECE), official(rounded), METADATA)
        numbers = {"step": step}
        for name, model in (("", as_learnt(student, OutlineOps, averaged)), (" off", network.transformer)):
            found = show(run, network, model, films, size, shown_beside, PIECE if not name else "")
            numbers |= {f"{word}{name}": value for word, value in found.items()}
        save_numbers(run.out, PIECE, numbers)

    Trainer(
        run, PIECE, optimizer, plan, kind=kind,
        draw=lambda step, kind: draw_batch(data, beside[kind.size], kind, run.generator(PIECE, step)),
        loss=loss,
    ).train(look, SHOWN)  # fmt: skip


def references(run: Run, network: TextToAV, data: Families) -> dict[int, References]:
    """Of the pool's own clips, for both sizes, or where half of the smaller one has no latent for the final one."""
    counts, found = FEW_FAMILIES if run.small else FAMILIES, {}
    groups = families(run, counts.families, counts.clips[0])
    for size, clips in zip(stage_sizes(run), counts.clips, strict=True):
        if size // FACTOR < SPATIAL_FACTOR:
            continue
        scenes = [scene for group in groups for scene in group[:clips]]
        tokens = encode_outlines(run, scenes, size, data.audio.dtype).unflatten(0, (-1, clips))
        place = geometry(size)
        latent = unpatchify_video(tokens[0, :1], geometry(size // FACTOR))
        state = Reference(latent, downscale_factor=FACTOR).apply(video_state(place, device=run.device), place)
        ropes = network.ropes(place, CONTEXT, run.device)
        video, _ = network.transformer.rope_tables(state.positions, None)
        for table in (video.tokens, video.cross):
            _ = table.rotation
        found[size] = References(tokens, state.positions, replace(ropes, video=video))
    return found


def _own(size: int) -> int:
    """Tokens of a reference."""
    return geometry(size // FACTOR).video_tokens


@torch.no_grad()
def encode_outlines(run: Run, scenes: Sequence[Scene], size: int, dtype: torch.dtype) -> Tensor:
    """Tokens (scenes, M, 128) of the outlines beside a stage of `size`."""
    encoder, size = video_autoencoder(run, dtype).encoder, size // FACTOR
    step = max(1, _PIXELS_TOGETHER // (33 * size * size))
    parts = []
    for start in range(0, len(scenes), step):
        pixels = outline(render(list(scenes[start : start + step]), size, size, device=run.device))
        parts.append(patchify_video(encoder(pixels.to(dtype))).to(dtype))
    return torch.cat(parts)


def draw_batch(data: Families, beside: References, kind: Kind, generator: torch.Generator) -> Batch:
    """Clips behind which their outlines stand, clean."""
    device, videos = generator.device, data.videos[kind.size]
    told = torch.randint(len(videos), (kind.contexts,), generator=generator, device=device)
    clips = torch.rand(kind.contexts, videos.shape[1], generator=generator, device=device).argsort(1)[:, : kind.share]
    groups, clips = told.repeat_interleave(kind.share), clips.flatten()
    less = torch.rand(kind.contexts, generator=generator, device=device)
    captions = data.captions(told, torch.where(less < 0.5, NO_MOTION, NEITHER), generator, DROPOUT)
    text, lengths = data.text.take(captions, TEXT_PLACES)
    sigmas = draw_sigmas(kind.contexts, generator).repeat_interleave(kind.share)
    levels = torch.stack((torch.zeros_like(sigmas), sigmas), dim=1)
    video, video_target = noisy(videos[groups, clips], sigmas[:, None, None], generator, USED_CHANNELS)
    audio, audio_target = noisy(data.audio[groups, clips], sigmas[:, None, None], generator)
    reference = beside.tokens[groups, clips]
    shapes = video.shape[:2], reference.shape[:2]
    own, others = (torch.full(shape, value, device=device) for shape, value in zip(shapes, (True, False), strict=True))
    return Batch(
        torch.cat((video, reference), dim=1), audio, levels, levels.clone(), torch.cat((own, others), dim=1),
        torch.ones(audio.shape[:2], dtype=torch.bool, device=device), sigmas, sigmas.clone(), text, lengths,
        torch.cat((video_target, torch.zeros_like(reference)), dim=1), audio_target,
    )  # fmt: skip


@torch.no_grad()
def show(
    run: Run,
    network: TextToAV,
    model: AVTransformer,
    films: Films,
    size: int,
    reference: tuple[Tensor, Tensor],
    name: str,
) -> dict[str, float]:
    """How far the shape is from where the outline has it, in pixels of 256; leaves the sheet `<name>-samples.png`."""
    text = films.texts[3]
    given = contexts(network, text.text)
    latent, _ = sample(
        model, size, given, run.generator(PIECE, "samples"),
        sigmas=ltx2_sigmas(4 if run.small else 30), reference=reference,
    )  # fmt: skip
    decoder = video_autoencoder(run, latent.dtype).decoder
    made = torch.cat([decoder(part) for part in latent.split(8)])
    sheet(run, f"{name}-samples", text, [made])
    drawn = render(films.scenes.first, size, size)
    errors = [_distance(own, other) for own, other in zip(made, drawn, strict=True)]
    numbers = {
        "pixels off, median": round(sorted(errors)[len(errors) // 2], 2),
        "below 3 pixels": sum(error < 3 for error in errors) / len(errors),
    }
    return numbers | judged(made, films.scenes.first)


def _distance(made: Tensor, drawn: Tensor) -> float:
    """Mean distance of the shape's centres in two films (3, F, H, W) in [-1, 1], in pixels of 256."""
    ways = [seen((film.float().clamp(-1, 1) + 1).permute(1, 2, 3, 0).cpu() / 2).centres for film in (made, drawn)]
    return float((ways[0] - ways[1]).norm(dim=-1).mean()) * 256
