"""The model's files in the official layout, bfloat16, from the trained pieces."""

import json
from pathlib import Path

from ...scripts.small_model_parts.layout import Tensors, checkpoint_tensors, save, stored_dtype
from . import audio_vae, final_size, video_vae
from .checkpoints import load_tensors, weights_path
from .report import save_numbers
from .run import Run
from .sizes import MODEL_VERSION, TEXT_CHANNELS, model_config, upsampler_config

FILES = {
    "checkpoint": Path("checkpoints", "ltx-2.3-demo-dev.safetensors"),
    "upsampler": Path("latent_upscale_models", "ltx-2.3-demo-spatial-upscaler-x2.safetensors"),
    "lora": Path("loras", "ltx-2.3-demo-distilled-lora.safetensors"),
}


def train(run: Run) -> None:
    """Writes FILES below the run's folder, from all other pieces; FileNotFoundError names one that is missing."""
    config = model_config(run.small)
    network, components = final_size.trained(run)
    parts = {**network.official(components, TEXT_CHANNELS), **autoencoder_parts(run)}
    metadata = {"config": json.dumps(config), "model_version": MODEL_VERSION}
    save(run.out / FILES["checkpoint"], stored(checkpoint_tensors(parts)), metadata)
    upsampler = {"config": json.dumps(upsampler_config(run.small))}
    for name, about in (("upsampler", upsampler), ("lora", {"format": "pt"})):
        save(run.out / FILES[name], stored(load_tensors(weights_path(run.out, name))[0]), about)
    sizes = {name: (run.out / path).stat().st_size / 1e6 for name, path in FILES.items()}
    save_numbers(run.out, "write", {f"{name}, MB": round(size, 2) for name, size in sizes.items()})


def autoencoder_parts(run: Run) -> dict[str, Tensors]:
    """State dicts of the VAEs' sides and of the vocoder."""
    parts: dict[str, Tensors] = {"vocoder": load_tensors(weights_path(run.out, "vocoder"))[0]}
    for modality, piece in (("video", video_vae.PIECE), ("audio", audio_vae.PIECE)):
        for name, tensor in load_tensors(weights_path(run.out, piece))[0].items():
            side, _, inner = name.partition(".")
            parts.setdefault(f"{modality}_{side}", {})[inner] = tensor
    return parts


def stored(tensors: Tensors) -> Tensors:
    """As the official files store them, on the CPU."""
    return {name: tensor.to("cpu", stored_dtype(name)).contiguous() for name, tensor in tensors.items()}
