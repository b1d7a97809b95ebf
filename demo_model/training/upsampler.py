"""The latent upsampler: from the latent of a clip to that of the same clip at twice the size."""

import torch
from torch import Tensor

from ...ltx_core.upsampler import LatentUpsampler, UpsamplerParams, upsample_latent
from ..world import Scene, render
from . import video_vae
from .checkpoints import save_tensors, weights_path
from .loop import Plan, optimise
from .losses import psnr
from .report import film_sheet, save_numbers
from .run import Run
from .sizes import USED_CHANNELS, upsampler_config

PIECE = "upsampler"
NOISE = 0.1  # the largest deviation of what is wrong with stage one's latents


def train(run: Run) -> None:
    """Trains the piece, measures it, and leaves `upsampler.safetensors`."""
    run.seed_weights(PIECE)
    upsampler = LatentUpsampler(UpsamplerParams.from_config(upsampler_config(run.small))).to(run.device)
    with torch.no_grad():
        upsampler.initial_conv.weight[:, USED_CHANNELS:] = 0  # and stays so, as in the VAE's decoder
    autoencoder = video_vae.trained(run)
    plan = Plan(12, 2e-3, warmup=2) if run.small else Plan(2000, 2e-3, warmup=100, matrix_rate=0.02)
    statistics = autoencoder.encoder.per_channel_statistics

    def draw(step: int) -> tuple[Tensor, Tensor]:
        small, large = pairs(run, autoencoder, run.scenes(PIECE, step, 2 if run.small else 16))
        generator = run.generator(PIECE, step)
        amount = torch.rand(len(small), 1, 1, 1, 1, generator=generator, device=run.device) * NOISE
        noise = torch.randn(small.shape, generator=generator, device=run.device)
        noise[:, USED_CHANNELS:] = 0
        return small + amount * noise, large

    def losses(small: Tensor, large: Tensor) -> dict[str, Tensor]:
        """The error of normalised latents, so that all channels count alike."""
        return {"mse": (upsample_latent(upsampler, statistics, small) - large).square().mean()}

    if optimise(run, PIECE, upsampler, draw, losses, plan):
        finish(run, upsampler, autoencoder)


@torch.no_grad()
def pairs(run: Run, autoencoder: video_vae.VideoAutoencoder, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Normalised latents, float32, of the scenes at stage one's size and at twice that."""
    size, frames = (32, 9) if run.small else (128, video_vae.FRAMES)
    latents = []
    for pixels in (size, 2 * size):
        clips = render(scenes, pixels, pixels, frames, run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.device.type == "cuda"):
            latents.append(autoencoder.encoder(clips).float())
    return latents[0], latents[1]


@torch.no_grad()
def finish(run: Run, upsampler: LatentUpsampler, autoencoder: video_vae.VideoAutoencoder) -> None:
    """The file, the sample sheet and the measurements, all of it in bfloat16 as it will run."""
    save_tensors(weights_path(run.out, PIECE), upsampler.state_dict())
    scenes = run.scenes(PIECE, "test", 4 if run.small else 32)
    small, large = pairs(run, autoencoder, scenes)
    shipped, decoder = upsampler.to(torch.bfloat16), autoencoder.decoder.to(torch.bfloat16)
    statistics = autoencoder.encoder.per_channel_statistics
    made = upsample_latent(shipped, statistics, small.bfloat16())
    size = 32 * large.shape[-1]
    drawn = render(scenes, size, size, 9 if run.small else video_vae.FRAMES, run.device)
    films = torch.cat([decoder(latent) for latent in made.split(4)])
    best = torch.cat([decoder(latent) for latent in large.bfloat16().split(4)])
    numbers = {
        "mse of latents": round(float((made - large).square().mean()), 4),
        "psnr after decoding": round(float(psnr(films, drawn).mean()), 2),
        "psnr of the true latent": round(float(psnr(best, drawn).mean()), 2),
    }
    save_numbers(run.out, PIECE, numbers)
    sheet = [
        (text, film)
        for trio in list(zip(drawn, best, films, strict=True))[:3]
        for text, film in zip(("drawn", "encoded and decoded", "upsampled latent, decoded"), trio, strict=True)
    ]
    film_sheet(run.out / f"{PIECE}-samples.png", sheet)
