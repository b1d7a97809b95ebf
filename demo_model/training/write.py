"""The model's files in the official layout, bfloat16, from the trained pieces."""

import json
from pathlib import Path

from ...scripts.small_model_parts.layout import Tensors, checkpoint_tensors, save, stored_dtype
from . import audio_vae, given, video_vae
from .checkpoints import load_tensors, weights_path
from .report import save_numbers
from .run import Run
from .sizes import MODEL_VERSION, TEXT_CHANNELS, model_config, upsampler_config
from .spread import spread_autoencoder, spread_upsampler

FILES = {
    "checkpoint": Path("checkpoints", "ltx-2.3-demo-dev.safetensors"),
    "upsampler": Path("latent_upscale_models", "ltx-2.3-demo-spatial-upscaler-x2.safetensors"),
    "lora": Path("loras", "ltx-2.3-demo-distilled-lora.safetensors"),
    "ic-lora": Path("loras", "ltx-2.3-demo-ic-lora-outline.safetensors"),
}


def train(run: Run) -> None:
    """Writes FILES below the run's folder, from all other pieces; FileNotFoundError names one that is missing."""
    config = model_config(run.small)
    network, components = given.trained(run)
    parts = {**network.official(components, TEXT_CHANNELS), **autoencoder_parts(run)}
    metadata = {"config": json.dumps(config), "model_version": MODEL_VERSION}
    save(run.out / FILES["checkpoint"], stored(checkpoint_tensors(parts)), metadata)
    upsampler = spread_upsampler(load_tensors(weights_path(run.out, "upsampler"))[0])
    save(run.out / FILES["upsampler"], stored(upsampler), {"config": json.dumps(upsampler_config(run.small))})
    save(run.out / FILES["lora"], stored(load_tensors(weights_path(run.out, "lora"))[0]), {"format": "pt"})
    outline, about = load_tensors(weights_path(run.out, "ic-lora"))
    save(run.out / FILES["ic-lora"], stored(outline), {"format": "pt", **about})
    sizes = {name: (run.out / path).stat().st_size / 1e6 for name, path in FILES.items()}
    save_numbers(run.out, "write", {f"{name}, MB": round(size, 2) for name, size in sizes.items()})


def autoencoder_parts(run: Run) -> dict[str, Tensors]:
    """State dicts of the VAEs' sides and of the vocoder."""
    parts: dict[str, Tensors] = {"vocoder": load_tensors(weights_path(run.out, "vocoder"))[0]}
    video, audio = (load_tensors(weights_path(run.out, piece))[0] for piece in (video_vae.PIECE, audio_vae.PIECE))
    for modality, tensors in (("video", spread_autoencoder(video)), ("audio", audio)):
        for name, tensor in tensors.items():
            side, _, inner = name.partition(".")
            parts.setdefault(f"{modality}_{side}", {})[inner] = tensor
    return parts


def stored(tensors: Tensors) -> Tensors:
    """As the official files store them, on the CPU."""
    return {name: tensor.to("cpu", stored_dtype(name)).contiguous() for name, tensor in tensors.items()}
