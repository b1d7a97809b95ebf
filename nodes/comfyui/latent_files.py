"""Latents on the disk: picture, sound and what stage two continues from, in one safetensors file.

ComfyUI's own Save Latent takes no latent with sound.  The picture lies where its Load Latent looks for it.
"""

import json
import os
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args

from ...ltx_core.errors import CheckpointError
from ...ltx_core.safetensors_file import SafetensorsFile
from ..declared import shortened
from . import latents
from .folder_lists import files_below
from .latents import StageInfo

EXTENSION = ".latent"
VIDEO, FORMAT, AUDIO, GENERATOR = "latent_tensor", "latent_format_version_0", "audio_tensor", "generator_state"
INFO = "ltx_duo"


def names() -> list[str]:
    """The latent files in ComfyUI's output and input folders, newest first, as "folders/name.latent [output]"."""
    found = []
    for kind in ("output", "input"):
        root = folder_paths.get_directory_by_type(kind)
        files = files_below(root, (EXTENSION,), follow_links=False)
        latents_there = (file for file in files if file.name.endswith(EXTENSION))
        found += [(file.mtime, f"{Path(file.name).as_posix()} [{kind}]") for file in latents_there]
    return [name for _, name in sorted(found, reverse=True)]


def path(name: str) -> Path:
    """Where a choice lies; CheckpointError when there is no such file below the output or the input folder."""
    relative, _, kind = name.rpartition(" ")
    if kind in ("[output]", "[input]"):
        root = Path(folder_paths.get_directory_by_type(kind[1:-1]))
        found = root / relative
        inside = os.path.abspath(found).startswith(os.path.abspath(root) + os.sep)
        if inside and found.suffix == EXTENSION and found.is_file():
            return found
    raise CheckpointError(
        f"There is no saved latent {shortened(name)}. Make one with LTX Save Latent, press r in ComfyUI, and choose it."
    )


def save(latent: dict, filename_prefix: str, metadata: dict[str, str]) -> dict[str, str]:
    """Writes a LATENT below the output folder; returns where, as ComfyUI's history shows files."""
    video, audio = latents.take(latent)
    info = latents.info_of(latent)
    tensors = {VIDEO: video.cpu().contiguous(), FORMAT: torch.tensor([])}
    if audio is not None:
        tensors[AUDIO] = audio.cpu().contiguous()
    if info is not None:
        tensors[GENERATOR] = info.generator_state
        metadata = {**metadata, INFO: json.dumps({"fps": info.fps, "generator_device": info.generator_device})}
    output = folder_paths.get_output_directory()
    folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, output)
    name = f"{stem}_{counter:05}_{EXTENSION}"
    comfy.utils.save_torch_file(tensors, os.path.join(folder, name), metadata=metadata)
    return {"filename": name, "subfolder": subfolder, "type": "output"}


def workflow_metadata(prompt: dict | None, extra: dict | None) -> dict[str, str]:
    """What ComfyUI writes into files so that they carry their workflow; nothing with --disable-metadata."""
    if args.disable_metadata:
        return {}
    found = {**({} if prompt is None else {"prompt": prompt}), **(extra or {})}
    return {key: json.dumps(value) for key, value in found.items()}


def load(name: str) -> dict:
    """The LATENT of a saved file; CheckpointError when it is damaged or of another kind."""
    file = SafetensorsFile.open(path(name))
    wanted = [key for key in (VIDEO, AUDIO, GENERATOR) if key in file.tensors]
    if VIDEO not in wanted:
        raise CheckpointError(f"{file.path} is not a saved latent. Choose a file made with LTX Save Latent.")
    # Copies: the file may be replaced while ComfyUI keeps the latent.
    tensors = {key: tensor.clone() for key, tensor in file.read(wanted).items()}
    made = latents.make(tensors[VIDEO], tensors.get(AUDIO), _info(file, tensors.get(GENERATOR)))
    latents.take(made)
    return made


def _info(file: SafetensorsFile, state: torch.Tensor | None) -> StageInfo | None:
    """What the file says of its stage; None for latents that other nodes made."""
    if state is None or INFO not in file.metadata:
        return None
    try:
        info = json.loads(file.metadata[INFO])
        return StageInfo(float(info["fps"]), str(info["generator_device"]), state)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file.path} has damaged metadata ({error!r}). Save the latent again.") from None
