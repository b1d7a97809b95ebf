"""Held-out prompts through both stages: how many are obeyed, and what it looks like."""

import functools
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.sampling.guidance import OFF, Contexts
from ...ltx_core.sampling.schedule import STAGE_TWO, ltx2_sigmas
from ...ltx_core.text.negative_prompt import NEGATIVE_PROMPT
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.upsampler import LatentUpsampler, UpsamplerParams, upsample_latent
from ..world import Scene, caption
from . import audio_vae, pools, video_vae, vocoder
from .checkpoints import load_weights, weights_path
from .network import TextToAV
from .pools import stage_sizes
from .report import film_sheet, save_numbers
from .run import Run
from .samples import contexts, judged, judged_sounds, sample
from .sizes import model_config, upsampler_config
from .text_features import Components, TextPool, text_pool


@dataclass(frozen=True)
class Prompts:
    """Scenes that were never trained on, a caption of each, and the captions' text with the negative prompt's."""

    scenes: list[Scene]
    captions: list[str]
    text: TextPool


def held_out_scenes(run: Run) -> tuple[list[Scene], list[str]]:
    """Scenes and a caption of each."""
    scenes = run.scenes("transformer", "held out", 4 if run.small else 32)
    words = random.Random(f"{run.seed}/held out")
    return scenes, [caption(scene, words) for scene in scenes]


def held_out(run: Run, components: Components) -> Prompts:
    scenes, captions = held_out_scenes(run)
    text, _ = text_pool(
        pools.text_encoder(run), [*captions, NEGATIVE_PROMPT], components, run.generator("transformer", "held out")
    )
    return Prompts(scenes, captions, text)


@functools.cache
def video_autoencoder(run: Run, dtype: torch.dtype) -> video_vae.VideoAutoencoder:
    return video_vae.trained(run).to(dtype)


def upsampler(run: Run, dtype: torch.dtype) -> LatentUpsampler:
    module = LatentUpsampler(UpsamplerParams.from_config(upsampler_config(run.small)))
    return load_weights(run.out, "upsampler", module).to(run.device, dtype).requires_grad_(False)


def stage_one(run: Run, network: TextToAV, prompts: Prompts) -> tuple[Contexts, Tensor, Tensor]:
    """Contexts of the prompts, and what stage one makes of them with the guidance that the pipeline has."""
    with torch.no_grad():
        given = contexts(network, prompts.text)
    sigmas = ltx2_sigmas(4 if run.small else 30)
    generator = run.generator("transformer", "samples")
    return given, *sample(network.transformer, stage_sizes(run)[0], given, generator, sigmas=sigmas)


@torch.no_grad()
def show_stage_one(run: Run, network: TextToAV, prompts: Prompts, name: str) -> dict[str, float]:
    """Shares of prompts that are obeyed; leaves the sheet `<name>-samples.png`."""
    _, video, audio = stage_one(run, network, prompts)
    decoder = video_autoencoder(run, video.dtype).decoder
    films = torch.cat([decoder(latent) for latent in video.split(8)])
    sheet(run, f"{name}-samples", prompts, [films])
    return {**judged(films, prompts.scenes), **sounds(run, audio, prompts)}


@torch.no_grad()
def show_both_stages(
    run: Run, network: TextToAV, refiner: AVTransformer, prompts: Prompts, name: str
) -> dict[str, float]:
    """The same of both stages, `refiner` being the transformer of stage two; the sheet has stage one enlarged, too."""
    given, video, audio = stage_one(run, network, prompts)
    vae = video_autoencoder(run, video.dtype)
    enlarged = upsample_latent(upsampler(run, video.dtype), vae.encoder.per_channel_statistics, video)
    size, generator = stage_sizes(run)[1], run.generator("transformer", "stage two")
    refined, _ = sample(
        refiner, size, given, generator, guidance=OFF, sigmas=torch.tensor(STAGE_TWO), initial=(enlarged, audio)
    )
    films = [torch.cat([vae.decoder(part) for part in latent.split(8)]) for latent in (enlarged, refined)]
    sheet(run, f"{name}-samples", prompts, films)
    numbers = {f"{key}, upsampled": value for key, value in judged(films[0], prompts.scenes).items()}
    numbers |= judged(films[1], prompts.scenes)
    save_numbers(run.out, name, numbers)
    return numbers


def sheet(run: Run, name: str, prompts: Prompts, films: list[Tensor], count: int = 8) -> None:
    rows = [
        (f"{text} [{scene.colour} {scene.shape} {scene.motion}]", film)
        for text, scene, *versions in list(zip(prompts.captions, prompts.scenes, *films, strict=True))[:count]
        for film in versions
    ]
    film_sheet(run.out / f"{name}.png", rows)


def sounds(run: Run, audio: Tensor, prompts: Prompts) -> dict[str, float]:
    """The share of sounds that belong to the prompt; nothing before there is a vocoder."""
    if not weights_path(run.out, vocoder.PIECE).is_file():
        return {}
    module = load_weights(run.out, vocoder.PIECE, vocoder.new_vocoder(model_config(run.small))).to(run.device)
    decoder = audio_vae.trained(run).decoder.to(audio.dtype)
    waveforms = module(decoder(audio).float())
    return {"sound": judged_sounds(waveforms, audio_vae.SAMPLE_RATE, prompts.scenes)}
