"""The decoder for previews: from single latent frames to small pictures, for what ComfyUI shows while it samples."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...ltx_core.video_vae.preview import LATENTS_OF, PreviewDecoder
from ...scripts.small_model_parts.layout import save
from ..world import render
from . import video_vae
from .checkpoints import save_tensors, weights_path
from .loop import Plan, optimise
from .losses import psnr
from .pools import stage_sizes
from .report import film_sheet, save_numbers
from .run import Run
from .sizes import MODEL_VERSION, USED_CHANNELS

PIECE = "preview"
FILE = Path("vae_approx", "ltx-2.3-demo-preview.safetensors")
WIDTHS, SMALL_WIDTHS = (64, 48, 32, 24), (8, 8, 8, 8)
PIXELS = 8  # of a picture for each latent, in width and in height
NOISE = 0.3  # the largest deviation of what is wrong with latents that are still sampled
BATCH = {True: 64, False: 16}  # latent frames of stage one's size, of the final size


def train(run: Run) -> None:
    """Trains the piece, measures it, and leaves `preview.safetensors` and, as it is shipped, FILE."""
    run.seed_weights(PIECE)
    decoder = PreviewDecoder(SMALL_WIDTHS if run.small else WIDTHS).to(run.device)
    with torch.no_grad():
        decoder.mix.weight[:, USED_CHANNELS:] = 0  # and stays so, as in the VAE's decoder
    autoencoder = video_vae.trained(run)
    smaller, larger = stage_sizes(run)
    clips = {smaller: 4, larger: 2} if run.small else {smaller: 512, larger: 160}
    pool = {size: _frames(run, autoencoder, size, f"pool {size}", count) for size, count in clips.items()}
    plan = Plan(60, 1e-2, warmup=2) if run.small else Plan(3000, 4e-3, warmup=50)

    def draw(step: int) -> tuple[Tensor, Tensor]:
        """Latent frames with noise on them, and their pictures; each third time of the final size."""
        first = step % 3 != 2
        latents, pictures = pool[smaller if first else larger]
        generator = run.generator(PIECE, step)
        chosen = torch.randint(len(latents), (BATCH[first],), generator=generator, device=run.device)
        amount = torch.rand(BATCH[first], 1, 1, 1, generator=generator, device=run.device) * NOISE
        noise = torch.randn(latents[chosen].shape, generator=generator, device=run.device)
        noise[:, USED_CHANNELS:] = 0
        return latents[chosen] + amount * noise, pictures[chosen]

    def losses(latents: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        error = decoder(latents) - pictures
        return {"l1": error.abs().mean(), "mse": 5 * error.square().mean()}

    if optimise(run, PIECE, decoder, draw, losses, plan):
        finish(run, decoder, autoencoder)


def shown(frames: int) -> list[int]:
    """Of the frames that each latent frame stands for, the one in the middle: 0, 4, 12, 20 ..."""
    return [0, *range(4, frames, 8)]


@torch.no_grad()
def _frames(
    run: Run, autoencoder: video_vae.VideoAutoencoder, size: int, name: str, count: int, decoded: bool = False
) -> tuple[Tensor, Tensor]:
    """Latent frames (N, 128, h, w), normalised, of `count` clips, and their pictures: as they are drawn, (N, 3, 8h,
    8w), or `decoded` by the video VAE, (N, 3, 32h, 32w)."""
    frames = 9 if run.small else video_vae.FRAMES
    latents, pictures = [], []
    for clip in run.scenes(PIECE, name, count):
        film = render([clip], size, size, frames, run.device)
        latent = autoencoder.encoder(film)
        film = (autoencoder.decoder(latent) if decoded else film)[0, :, shown(frames)].transpose(0, 1)
        latents.append(latent[0].transpose(0, 1))
        pictures.append(film if decoded else F.interpolate(film, scale_factor=PIXELS / 32, mode="area"))
    return torch.cat(latents), torch.cat(pictures)


@torch.no_grad()
def finish(run: Run, decoder: PreviewDecoder, autoencoder: video_vae.VideoAutoencoder) -> None:
    """The files, the sample sheet and the measurements, with weights as they are shipped: in bfloat16."""
    save_tensors(weights_path(run.out, PIECE), decoder.state_dict())
    stored = {name: tensor.to("cpu", torch.bfloat16).contiguous() for name, tensor in decoder.state_dict().items()}
    save(run.out / FILE, stored, {"format": "pt", LATENTS_OF: MODEL_VERSION})
    decoder.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    numbers, sheet = {}, []
    for size in stage_sizes(run):
        latents, pictures = _frames(run, autoencoder, size, f"test {size}", 2 if run.small else 16, decoded=True)
        made = enlarged(decoder(latents), size)
        alone = pictures.mean(dim=(2, 3), keepdim=True).expand_as(pictures)
        numbers |= {
            f"psnr_{size}": round(float(psnr(made, pictures).mean()), 2),
            f"psnr_{size} of each picture's mean colour": round(float(psnr(alone, pictures).mean()), 2),
        }
        films = (pictures[:6].transpose(0, 1), made[:6].transpose(0, 1))
        sheet += zip((f"{size} px: decoded", "as a preview"), films, strict=True)
    save_numbers(run.out, PIECE, numbers)
    film_sheet(run.out / f"{PIECE}-samples.png", sheet)


def enlarged(pictures: Tensor, size: int) -> Tensor:
    """Small square pictures (B, 3, h, h) as ComfyUI shows them, `size` pixels high and wide."""
    return F.interpolate(pictures, (size, size), mode="bilinear", align_corners=False)
