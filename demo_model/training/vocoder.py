"""The vocoder with its bandwidth extension: spectrograms, true ones and the audio VAE's, to sound."""

import torch
from torch import Tensor

from ...ltx_core.audio_vae import AudioVAEParams, resample, waveform_to_mel
from ...ltx_core.vocoder import Vocoder, VocoderParams
from ..detectors import heard
from ..world import Scene, bounce_times
from . import audio_vae
from .checkpoints import load_weights, save_tensors, weights_path
from .loop import Plan, optimise
from .losses import spectral_loss
from .report import mel_sheet, save_numbers
from .run import Run
from .sizes import model_config

PIECE = "vocoder"
NARROW, WIDE = "vocoder-narrow", "vocoder-wide"  # its two networks, as the loop calls them
NARROW_WINDOWS = (128, 512, 2048)  # samples at 16 kHz
WIDE_WINDOWS = (256, 1024, 4096)  # samples at 48 kHz
# Weights of the sample-by-sample error; tones and clicks keep with the spectrogram's frames.
WAVE, SQUARES = 2.0, 100.0
BENDS = 300.0  # of the first network's second differences: there clicks weigh at least what tones do
FPS = 24


def new_vocoder(config: dict) -> Vocoder:
    """With the bases and filters as the model's file will round them: they do not learn."""
    vocoder = Vocoder(VocoderParams.from_config(config))
    for buffer in vocoder.buffers():
        buffer.copy_(buffer.bfloat16())
    return vocoder


def train(run: Run) -> None:
    """Trains both networks, the first one alone, measures them together, and leaves `vocoder.safetensors`."""
    run.seed_weights(PIECE)
    config = model_config(run.small)
    vocoder = new_vocoder(config).to(run.device)
    autoencoder = audio_vae.trained(run)
    rate = AudioVAEParams.from_config(config).sampling_rate
    clips = 2 if run.small else 8

    def draw(piece: str, step: int) -> tuple[Tensor, Tensor]:
        """Spectrograms, and the sound at 48 kHz."""
        wide = audio_vae.sounds(run, audio_vae.scenes_with_clicks(run, piece, step, clips))
        return inputs(run, piece, step, wide, autoencoder, config), wide

    def draw_narrow(step: int) -> tuple[Tensor, Tensor]:
        mel, wide = draw(NARROW, step)
        return mel, resample(wide, audio_vae.SAMPLE_RATE, rate)

    def narrow_losses(mel: Tensor, narrow: Tensor) -> dict[str, Tensor]:
        made = vocoder.vocoder(mel)
        return {**losses(made, narrow, NARROW_WINDOWS), "bends": bends(made, narrow)}

    def wide_losses(mel: Tensor, wide: Tensor) -> dict[str, Tensor]:
        return losses(vocoder(mel), wide, WIDE_WINDOWS)

    plan = Plan(8, 1e-3, warmup=2) if run.small else Plan(3000, 1e-3, warmup=100, matrix_rate=0.01)
    if not optimise(run, NARROW, vocoder.vocoder, draw_narrow, narrow_losses, plan):
        return
    vocoder.vocoder.requires_grad_(False)
    plan = Plan(8, 1e-3, warmup=2) if run.small else Plan(2000, 1e-3, warmup=100, matrix_rate=0.01)
    if optimise(run, WIDE, vocoder.bwe_generator, lambda step: draw(WIDE, step), wide_losses, plan):
        finish(run, vocoder, autoencoder, config)


def losses(made: Tensor, wanted: Tensor, windows: tuple[int, ...]) -> dict[str, Tensor]:
    made, wanted = _same_length(made, wanted)
    error = made - wanted
    return {
        "spectrum": spectral_loss(made, wanted, windows),
        "wave": WAVE * error.abs().mean(),
        "squares": SQUARES * error.square().mean(),
    }


def bends(made: Tensor, wanted: Tensor) -> Tensor:
    """The error of the second differences, in which high frequencies, and so clicks, outweigh low ones."""
    made, wanted = _same_length(made, wanted)
    return BENDS * (made - wanted).diff(n=2).square().mean()


def _same_length(made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """A spectrogram stands for a few samples more or less than it was made of."""
    samples = min(made.shape[-1], wanted.shape[-1])
    return made[..., :samples], wanted[..., :samples]


@torch.no_grad()
def inputs(
    run: Run, piece: str, step: int, wide: Tensor, autoencoder: audio_vae.AudioAutoencoder, config: dict
) -> Tensor:
    """Spectrograms of `wide`: every second one as it is, the others as they come out of the audio VAE, with noise."""
    mel = waveform_to_mel(wide, audio_vae.SAMPLE_RATE, AudioVAEParams.from_config(config))
    noise = audio_vae.latent_noise(run, piece, step, mel)
    decoded = autoencoder.decoder(autoencoder.encoder(mel) + noise)
    mel = mel[:, :, : decoded.shape[2]].clone()
    mel[1::2] = decoded[1::2, :, : mel.shape[2]]
    return mel


@torch.no_grad()
def finish(run: Run, vocoder: Vocoder, autoencoder: audio_vae.AudioAutoencoder, config: dict) -> None:
    """The file, and measurements of the whole way: sound, spectrogram, latent, spectrogram, sound."""
    save_tensors(weights_path(run.out, PIECE), vocoder.state_dict())
    shipped = load_weights(run.out, PIECE, new_vocoder(config)).to(torch.bfloat16).float().to(run.device).eval()
    autoencoder = autoencoder.to(torch.bfloat16)
    scenes = run.scenes(PIECE, "test", 2 if run.small else 64)
    wide = audio_vae.sounds(run, scenes)
    mel = waveform_to_mel(wide, audio_vae.SAMPLE_RATE, AudioVAEParams.from_config(config))
    made = shipped(autoencoder.decoder(autoencoder.encoder(mel.bfloat16())))
    save_numbers(run.out, PIECE, measure(scenes, *_same_length(wide.cpu(), made.cpu())))
    again = waveform_to_mel(made, audio_vae.SAMPLE_RATE, AudioVAEParams.from_config(config))
    mel_sheet(
        run.out / f"{PIECE}-samples.png",
        [
            (f"{scene.shape}, {scene.motion}: {text}", picture[0])
            for scene, *pair in list(zip(scenes, mel, again, strict=True))[:6]
            for text, picture in zip(("sound", "after VAE and vocoder"), pair, strict=True)
        ],
    )


def measure(scenes: list[Scene], wide: Tensor, made: Tensor) -> dict:
    """Pitch, clicks, silence and loudness of `made` (B, 2, N) against the scenes' own sound `wide`."""
    pitches, clicks, silences, levels = [], [], [], []
    missed = 0
    for scene, wanted, found in zip(scenes, wide, made, strict=True):
        if scene.motion == "still":
            silences.append(_decibels(found))
            continue
        true, other = (heard(sound, audio_vae.SAMPLE_RATE) for sound in (wanted, found))
        pitches.append(abs(other.pitch / true.pitch - 1) if other.pitch else 1.0)
        levels.append(abs(_decibels(found) - _decibels(wanted)))
        duration = made.shape[-1] / audio_vae.SAMPLE_RATE
        for time in (time for time in bounce_times(scene) if time < duration - 0.02):
            nearest = min((abs(click - time) for click in other.clicks), default=float("inf"))
            missed += nearest > 1 / FPS
            clicks.append(nearest)
    return {
        "pitch error, worst": round(max(pitches, default=0.0), 4),
        "clicks": len(clicks),
        "clicks more than a frame off": missed,
        "silence, loudest, dBFS": round(max(silences, default=-200.0), 1),
        "loudness error, mean dB": round(sum(levels) / max(1, len(levels)), 2),
        "loudness error, worst dB": round(max(levels, default=0.0), 2),
    }


def _decibels(waveform: Tensor) -> float:
    return float(20 * waveform.square().mean().sqrt().clamp_min(1e-10).log10())
