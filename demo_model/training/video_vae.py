"""The video VAE: a plain autoencoder whose latents are spread out and may be a little wrong."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ..world import render
from .autoencoder import Autoencoder
from .checkpoints import load_weights, save_tensors, weights_path
from .loop import Plan, optimise
from .losses import edge_loss, moment_penalty, psnr
from .report import film_sheet, save_numbers
from .run import Run
from .sizes import USED_CHANNELS, model_config

PIECE = "video-vae"
FRAMES = 33
LATENT_CHANNELS = 128
NOISE = 0.3  # the largest standard deviation of the noise that the decoder has to live with
SPREAD = 0.1  # weight of the penalty on the latents' moments


@dataclass(frozen=True)
class Drawn:
    """Clips of one step, drawn anew; a single frame is an image."""

    size: int
    frames: int
    clips: int


# In turn: single images first, which teach shapes and colours at a small part of a clip's price ...
IMAGES = (Drawn(256, 1, 16), Drawn(128, 1, 64))
# ... then both sizes of the two stages, and now and then single images.
CLIPS = (*(Drawn(256, FRAMES, 4), Drawn(128, FRAMES, 16)) * 3, Drawn(256, FRAMES, 4), IMAGES[0])
SMALL_IMAGES = (Drawn(64, 1, 4),)
SMALL_CLIPS = (Drawn(64, 9, 2), Drawn(32, 9, 4), Drawn(64, 1, 4))


@dataclass(frozen=True)
class Course:
    """What is drawn when: `images` in turn for the first steps, `clips` afterwards."""

    plan: Plan
    image_steps: int
    images: tuple[Drawn, ...]
    clips: tuple[Drawn, ...]

    def drawn(self, step: int) -> Drawn:
        batches = self.images if step < self.image_steps else self.clips
        return batches[step % len(batches)]


FULL = Course(Plan(9000, 2e-3, warmup=100, matrix_rate=0.02), 2500, IMAGES, CLIPS)
SMALL = Course(Plan(12, 3e-3, warmup=2, matrix_rate=0.02), 3, SMALL_IMAGES, SMALL_CLIPS)


class VideoAutoencoder(Autoencoder):
    """The video VAE; its statistics are of the latent channels."""

    def __init__(self, config: dict):
        params = VideoVAEParams.from_config(config)
        super().__init__(VideoEncoder(params), VideoDecoder(params), params.latent_channels)
        with torch.no_grad():
            # Weights of unused channels stay zero, since no gradient reaches them: what the encoder would put there is
            # read by nothing but the decoder's own zeros, and those read zeros.
            for tensor in (self.encoder.conv_out.conv.weight, self.encoder.conv_out.conv.bias):
                tensor[USED_CHANNELS : params.latent_channels] = 0
            self.decoder.conv_in.conv.weight[:, USED_CHANNELS:] = 0


def train(run: Run) -> None:
    """Trains the piece, measures it, and leaves `video-vae.safetensors`."""
    run.seed_weights(PIECE)
    model = VideoAutoencoder(model_config(run.small)).to(run.device)
    if run.device.type == "cuda":
        model = model.to(memory_format=torch.channels_last_3d)
    course = SMALL if run.small else FULL

    def draw(step: int) -> tuple[Tensor, Tensor]:
        """Clips, and the noise for their latents."""
        drawn = course.drawn(step)
        clips = render(run.scenes(PIECE, step, drawn.clips), drawn.size, drawn.size, drawn.frames, run.device)
        cells = ((drawn.frames - 1) // 8 + 1, drawn.size // 32, drawn.size // 32)
        generator = run.generator(PIECE, step)
        amount = torch.rand(drawn.clips, 1, 1, 1, 1, generator=generator, device=run.device) * NOISE
        noise = torch.randn(drawn.clips, LATENT_CHANNELS, *cells, generator=generator, device=run.device)
        noise[:, USED_CHANNELS:] = 0
        return clips, amount * noise

    if optimise(run, PIECE, model, draw, lambda clips, noise: losses(model, clips, noise), course.plan):
        finish(run, model)


def losses(model: VideoAutoencoder, clips: Tensor, noise: Tensor) -> dict[str, Tensor]:
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
        latent = model.encoder(clips)
        error = model.decoder(latent + noise.to(latent)) - clips
    # Squares too: the background is nearly all of the picture, and absolute errors let it outvote the shape.
    return {
        "l1": error.abs().mean(),
        "mse": 5 * error.square().mean(),
        "edges": edge_loss(error),
        "spread": SPREAD * moment_penalty(latent[:, :USED_CHANNELS], (0, 2, 3, 4)),
    }


@torch.no_grad()
def finish(run: Run, model: VideoAutoencoder) -> None:
    """Latent statistics over many clips, then the file, the sample sheet and the measurements."""
    sizes, clips, batch = ((32, 64), 8, 4) if run.small else ((128, 256), 512, 32)
    model.set_statistics(*latent_statistics(run, model, sizes, clips, batch))
    save_tensors(weights_path(run.out, PIECE), model.state_dict())
    # As it will run: all of it in bfloat16.
    shipped = copy.deepcopy(model).to(torch.bfloat16)
    numbers = {f"psnr_{size}": measure(run, shipped, size, clips // 8) for size in sizes}
    save_numbers(run.out, PIECE, numbers)
    films = []
    for size in sizes:
        originals = render(run.scenes(PIECE, "sheet", 4), size, size, 9 if run.small else FRAMES, run.device)
        decoded = shipped.decoder(shipped.encoder(originals.bfloat16()))
        films += [
            (f"{size} px: drawn, decoded", film) for pair in zip(originals, decoded, strict=True) for film in pair
        ]
    film_sheet(run.out / f"{PIECE}-samples.png", films)


def latent_statistics(
    run: Run, model: VideoAutoencoder, sizes: tuple[int, ...], clips: int, batch: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over clips of all sizes; of a constant one the deviation is 1."""
    latents = []
    for size in sizes:
        for number in range(0, clips, batch):
            scenes = run.scenes(PIECE, f"statistics {number}", batch)
            frames = render(scenes, size, size, 9 if run.small else FRAMES, run.device)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=run.device.type == "cuda"):
                latents.append(model.encoder(frames).float().transpose(0, 1).flatten(1))
    deviation, mean = torch.std_mean(torch.cat(latents, dim=1), dim=1)
    return mean, torch.where(deviation > 0, deviation, 1.0)


def measure(run: Run, model: VideoAutoencoder, size: int, clips: int) -> dict[str, float]:
    """Decibels: of whole clips, of their first frame encoded and decoded alone, and with noise on the latent."""
    drawn = render(run.scenes(PIECE, f"test {size}", clips), size, size, 9 if run.small else FRAMES, run.device)
    found: dict[str, list[Tensor]] = {"clip": [], "image": [], "noise 0.1": []}
    for pictures in drawn.split(8):
        pictures = pictures.to(next(model.parameters()).dtype)
        latent = model.encoder(pictures)
        noise = torch.randn(latent.shape, generator=run.generator(PIECE, "test"), device=run.device)
        found["clip"].append(psnr(model.decoder(latent), pictures))
        found["noise 0.1"].append(psnr(model.decoder(latent + 0.1 * noise.to(latent)), pictures))
        image = pictures[:, :, :1]
        found["image"].append(psnr(model.decoder(model.encoder(image)), image))
    return {name: round(float(torch.cat(values).mean()), 2) for name, values in found.items()}


def trained(run: Run) -> VideoAutoencoder:
    """The finished piece, for those that build on it: on the run's device, without gradients."""
    model = load_weights(run.out, PIECE, VideoAutoencoder(model_config(run.small)))
    return model.to(run.device).eval().requires_grad_(False)
