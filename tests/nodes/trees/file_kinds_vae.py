"""VAEs and upsamplers as Kijai, Comfy-Org and ComfyUI's own nodes save them again.

Behind the rows: ComfyUI-LTXVideo#436, KJNodes#606, #610, ComfyUI#14722.
"""

import json
from pathlib import Path

import torch

from ltx_duo.ltx_core import known_configs
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.tests.nodes.trees.file_kinds import (
    AUDIO,
    UPSAMPLER,
    VAE,
    VOCODER,
    FileKind,
    Inputs,
    Models,
    Tensors,
    config_beside,
    nothing,
    only,
    parts,
    renamed,
    version,
)


def _vaes(video=lambda tensors: tensors, audio=lambda tensors: tensors, metadata: str = "kept"):
    """Video VAE and sound in two files, changed; their config kept, the video's lost, or all of it beside them."""

    def write(models: Models) -> Inputs:
        tensors, kept = models.small()
        if metadata == "beside":
            config_beside(models, "vae")
        of_sound, kept = (kept, {}) if metadata == "video's lost" else (kept, kept) if metadata == "kept" else ({}, {})
        pictures = video(parts(tensors, VAE))
        sound = audio(parts(tensors, AUDIO, VOCODER))
        return {
            "checkpoint": models.save("vae", "video.safetensors", pictures, kept),
            "audio_file": models.save("vae", "audio.safetensors", sound, of_sound),
        }

    return write


def _sound(*prefixes: str, new: dict[str, str] = {}):  # noqa: B006
    """A part of the sound in a file of its own, beside the checkpoint."""

    def write(models: Models) -> Inputs:
        tensors, metadata = only(models, *prefixes)
        for old, name in new.items():
            tensors = renamed(tensors, old, name) | {key: t for key, t in tensors.items() if not key.startswith(old)}
        return {"audio_file": models.save("vae", "audio.safetensors", tensors, metadata)}

    return write


def _video_and(*prefixes: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = only(models, VAE)
        video = models.save("vae", "video.safetensors", tensors, metadata)
        return {"checkpoint": video, **_sound(*prefixes)(models)}

    return write


def _moved(tensors: Tensors, changes: dict[str, str]) -> Tensors:
    """All tensors, with those prefixes renamed."""
    old = next((old for old in changes), "")
    found = {}
    for name, tensor in tensors.items():
        old = next((old for old in changes if name.startswith(old)), "")
        found[changes.get(old, "") + name[len(old) :]] = tensor
    return found


def _aliased(tensors: Tensors) -> Tensors:
    names = {
        "per_channel_statistics.mean-of-means": "latents_mean",
        "per_channel_statistics.std-of-means": "latents_std",
    }
    return {AUDIO + names.get(name.removeprefix(AUDIO), name.removeprefix(AUDIO)) if name.startswith(AUDIO) else name: t
            for name, t in tensors.items()}  # fmt: skip


def _without(prefix: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = models.small()
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        return {"checkpoint": models.save("checkpoints", "less.safetensors", kept, metadata)}

    return write


def _upsampler(metadata: bool, beside: bool = False):
    def write(models: Models) -> Inputs:
        tensors, kept = models.small(UPSAMPLER)
        if beside:
            models.text("latent_upscale_models", "up/config.json", kept["config"])
        return {
            "upsampler": models.save("latent_upscale_models", "up/x2.safetensors", tensors, kept if metadata else {})
        }

    return write


def _official_upsampler(number: int):
    """The header of one of LTX-2.3's upsamplers, without metadata."""

    def write(models: Models) -> Inputs:
        configs = Path(known_configs.__file__).parent / "variants" / "configs" / "ltx-2.3-upsamplers.json"
        config = json.loads(configs.read_text())[number]
        module = LatentUpsampler(UpsamplerParams.from_config(config), device="meta")
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        return {"upsampler": models.header("latent_upscale_models", "up.safetensors", shapes)}

    return write


ROWS = [
    FileKind("official checkpoint in the VAE loader", "VAELoader", nothing),
    FileKind("official upsampler", "UpsamplerLoader", nothing),
    FileKind("VAEs in two files with metadata", "VAELoader", _vaes()),
    FileKind("VAEs in two files, config.json beside", "VAELoader", _vaes(metadata="beside")),
    FileKind(
        "VAEs without prefixes",
        "VAELoader",
        _vaes(lambda t: _moved(t, {VAE: ""}), lambda t: _moved(t, {AUDIO: "", VOCODER: VOCODER})),
    ),
    FileKind(
        "VAEs as ComfyUI saves them",
        "VAELoader",
        _vaes(lambda t: _moved(t, {VAE: ""}), lambda t: _moved(t, {AUDIO: "autoencoder.", VOCODER: VOCODER})),
    ),
    FileKind(
        "VAEs below first_stage_model.",
        "VAELoader",
        _vaes(
            lambda t: _moved(t, {VAE: "first_stage_model."}),
            lambda t: _moved(t, {AUDIO: "first_stage_model.autoencoder.", VOCODER: "first_stage_model.vocoder."}),
        ),
    ),
    FileKind("audio statistics under their other names", "VAELoader", _vaes(audio=_aliased)),
    FileKind("sound beside the checkpoint", "VAELoader", _sound(AUDIO, VOCODER)),
    FileKind("audio VAE alone beside the checkpoint", "VAELoader", _sound(AUDIO)),
    FileKind("vocoder alone beside the checkpoint", "VAELoader", _sound(VOCODER)),
    FileKind("vocoder without its prefix", "VAELoader", _sound(VOCODER, new={VOCODER: ""})),
    FileKind("upsampler without metadata, config.json beside", "UpsamplerLoader", _upsampler(False, beside=True)),
    FileKind(
        "checkpoint without VAE",
        "VAELoader",
        _without(VAE),
        ("checkpoint", "less.safetensors has no video VAE encoder"),
    ),
    FileKind(
        "audio VAE alone, no vocoder anywhere",
        "VAELoader",
        _video_and(AUDIO),
        ("audio_file", "audio.safetensors has no vocoder"),
        together=True,
    ),
    FileKind(
        "vocoder alone, no audio VAE anywhere",
        "VAELoader",
        _video_and(VOCODER),
        ("audio_file", "audio.safetensors has no audio VAE decoder"),
        together=True,
    ),
    FileKind(
        "video VAE of unknown sizes without config",
        "VAELoader",
        _vaes(metadata="video's lost"),
        ("checkpoint", "has no 'config' in its metadata, and its video VAE"),
    ),
    FileKind(
        "upsampler of unknown sizes without config",
        "UpsamplerLoader",
        _upsampler(False),
        ("upsampler", "has no 'config' in its metadata, and its latent upsampler is not that of LTX-2.3"),
    ),
    FileKind(
        "official x1.5 upsampler without config",
        "UpsamplerLoader",
        _official_upsampler(1),
        ("upsampler", "enlarges by 1.5 in width and height"),
    ),
    FileKind(
        "official temporal upsampler without config",
        "UpsamplerLoader",
        _official_upsampler(2),
        ("upsampler", "enlarges in time"),
    ),
    FileKind(
        "checkpoint of LTX-2.5",
        "VAELoader",
        version("2.5.0"),
        ("checkpoint", "says that it is of LTX-2.5, but its tensors are those of LTX-2.3"),
    ),
    FileKind(
        "VAE of diffusers",
        "VAELoader",
        lambda models: {
            "checkpoint": models.save(
                "vae",
                "diffusion_pytorch_model.safetensors",
                _moved(only(models, VAE)[0], {VAE: ""})
                | {"decoder.up_blocks.0.resnets.0.conv1.conv.weight": torch.ones(4, 4)},
            )
        },
        ("checkpoint", "is a VAE in the layout of diffusers"),
    ),
]
