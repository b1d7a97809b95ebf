"""The audio VAE: spectrograms, made by the engine's own front end, to latents and back."""

import torch
from torch import Tensor

from ...ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams, waveform_to_mel
from ..world import Scene, sound
from .autoencoder import Autoencoder
from .checkpoints import load_weights, save_tensors, weights_path
from .loop import Plan, optimise
from .losses import moment_penalty
from .report import mel_sheet, save_numbers
from .run import Run
from .sizes import model_config

PIECE = "audio-vae"
SAMPLE_RATE = 48000
FRAMES = 33
LATENT_CHANNELS = 8
NOISE = 0.25
SPREAD = 0.1


class AudioAutoencoder(Autoencoder):
    """The audio VAE; its statistics are of the 128 values of a time step."""

    def __init__(self, config: dict):
        params = AudioVAEParams.from_config(config)
        super().__init__(AudioEncoder(params), AudioDecoder(params), params.token_width)


def latent_noise(run: Run, piece: str, step: int, mel: Tensor) -> Tensor:
    """Noise for the latents (B, 8, T', 16) of mel (B, 2, T, 64), up to NOISE of it, in normalised latents' units."""
    generator = run.generator(piece, step)
    amount = torch.rand(len(mel), 1, 1, 1, generator=generator, device=run.device) * NOISE
    shape = (len(mel), LATENT_CHANNELS, -(-mel.shape[2] // 4), mel.shape[3] // 4)
    return amount * torch.randn(shape, generator=generator, device=run.device)


def scenes_with_clicks(run: Run, piece: str, step: int, count: int) -> list[Scene]:
    """Scenes of a step of which half bounce: clicks are short, and rare enough to be overheard else."""
    bouncing = run.scenes(piece, step, count - count // 2, motion="bouncing")
    return run.scenes(piece, step, count // 2) + bouncing


def sounds(run: Run, scenes: list[Scene]) -> Tensor:
    """(B, 2, samples) at SAMPLE_RATE."""
    return sound(scenes, frames=4 if run.small else FRAMES, sample_rate=SAMPLE_RATE, device=run.device)


def spectrograms(run: Run, scenes: list[Scene], config: dict) -> Tensor:
    """(B, 2, T, 64), T of the 4n+1 that latents stand for."""
    mel = waveform_to_mel(sounds(run, scenes), SAMPLE_RATE, AudioVAEParams.from_config(config))
    return mel[:, :, : mel.shape[2] - (mel.shape[2] - 1) % 4]


def train(run: Run) -> None:
    """Trains the piece, measures it, and leaves `audio-vae.safetensors`."""
    run.seed_weights(PIECE)
    config = model_config(run.small)
    model = AudioAutoencoder(config).to(run.device)
    plan = Plan(10, 2e-3, warmup=2) if run.small else Plan(2500, 1.5e-3, warmup=100)

    def draw(step: int) -> tuple[Tensor, Tensor]:
        mel = spectrograms(run, scenes_with_clicks(run, PIECE, step, 2 if run.small else 16), config)
        return mel, latent_noise(run, PIECE, step, mel)

    if optimise(run, PIECE, model, draw, lambda mel, noise: losses(model, mel, noise), plan):
        finish(run, model, config)


def losses(model: AudioAutoencoder, mel: Tensor, noise: Tensor) -> dict[str, Tensor]:
    latent = model.encoder(mel)
    decoded = model.decoder(latent + noise)
    error = decoded - mel
    return {
        "l1": error.abs().mean(),
        "mse": 0.2 * error.square().mean(),
        "spread": SPREAD * moment_penalty(latent, (0, 2)),
    }


@torch.no_grad()
def finish(run: Run, model: AudioAutoencoder, config: dict) -> None:
    """Latent statistics over many clips, then the file, the sample sheet and the measurements."""
    clips, batch = (4, 2) if run.small else (1024, 32)
    mels = [spectrograms(run, run.scenes(PIECE, f"statistics {n}", batch), config) for n in range(0, clips, batch)]
    latent = torch.cat([model.encoder(mel) for mel in mels])
    deviation, mean = torch.std_mean(latent.transpose(1, 2).flatten(0, 1).flatten(1), dim=0)
    model.set_statistics(mean, deviation)
    save_tensors(weights_path(run.out, PIECE), model.state_dict())
    # As the file will be rounded; the engine computes in bfloat16 too.
    shipped = trained(run).to(torch.bfloat16)
    mel = spectrograms(run, run.scenes(PIECE, "test", 2 if run.small else 64), config)
    decoded = shipped.decoder(shipped.encoder(mel.bfloat16())).float()
    save_numbers(run.out, PIECE, {"l1 of logarithms": round(float((decoded - mel).abs().mean()), 4)})
    mel_sheet(
        run.out / f"{PIECE}-samples.png",
        [
            (text, film[0])
            for pair in zip(mel[:6], decoded[:6], strict=True)
            for text, film in zip(TEXTS, pair, strict=True)
        ],
    )


TEXTS = ("left side: sound", "decoded")


def trained(run: Run) -> AudioAutoencoder:
    """The finished piece, for those that build on it: on the run's device, without gradients."""
    model = load_weights(run.out, PIECE, AudioAutoencoder(model_config(run.small)))
    return model.to(run.device).eval().requires_grad_(False)
