"""Latents on the disk: picture, sound, what stage two continues from, and a sound that was given, in one safetensors
file.

ComfyUI's own Save Latent takes no latent with sound.  The picture lies where its Load Latent looks for it.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from torch import Tensor

from ...ltx_core.errors import CheckpointError, ConditioningError, GeometryError
from ...ltx_core.generation import Generation
from ...ltx_core.safetensors_file import SafetensorsFile
from ...ltx_core.sampling.conditions import GivenSound
from ...ltx_core.sampling.geometry import HIGHEST_FPS, LOWEST_FPS, pixel_frames
from ..declared import shortened
from . import latents
from .folder_lists import files_below
from .stage_info import SoundInfo, StageInfo, problem_of_generator

EXTENSION = ".latent"
VIDEO, FORMAT, AUDIO, GENERATOR = "latent_tensor", "latent_format_version_0", "audio_tensor", "generator_state"
INFO = "ltx_duo"
GIVEN, GIVEN_INFO = "given_sound", "ltx_duo_given_sound"
DTYPES = ("F32", "F16", "BF16", "F64")
DEVICE = re.compile(r"[a-z]{1,20}")


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
        found = root / relative.replace("\\", "/")
        inside = os.path.abspath(found).startswith(os.path.abspath(root) + os.sep)
        if inside and found.suffix == EXTENSION and os.path.isfile(found):
            return found
    raise CheckpointError(
        f"There is no saved latent {shortened(name)}. Make one with LTX Save Latent, press r in ComfyUI, and choose it."
    )


def save(latent: dict, filename_prefix: str, metadata: dict[str, str]) -> dict[str, str]:
    """Writes a LATENT below the output folder; returns where, as ComfyUI's history shows files."""
    video, audio = latents.take(latent)
    info = latents.info_of(latent)
    _check_pair(video, audio, info)
    tensors = {VIDEO: video.cpu().contiguous(), FORMAT: torch.tensor([])}
    if audio is not None:
        tensors[AUDIO] = audio.cpu().contiguous()
    if info is not None:
        tensors[GENERATOR] = info.generator_state
        metadata = {**metadata, INFO: json.dumps(_table_of(info))}
    if (sound := latents.sound_info(latent)) is not None:
        rate = None if sound.waveform is None else sound.waveform.sample_rate
        metadata = {**metadata, GIVEN_INFO: json.dumps({"sample_rate": rate})}
        if sound.waveform is not None:
            tensors[GIVEN] = sound.waveform.waveform.contiguous()
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
    if VIDEO not in file.tensors:
        raise CheckpointError(f"{file.path} is not a saved latent. Choose a file made with LTX Save Latent.")
    _check(file, VIDEO, "picture", latents.check_video)
    _check(file, AUDIO, "sound", latents.check_audio)
    # Copies: the file may be replaced while ComfyUI keeps the latent.
    tensors = {key: tensor.clone() for key, tensor in file.read(k for k in (VIDEO, AUDIO) if k in file.tensors).items()}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _strange(file, f"its {key!r} holds NaN or infinite values", "numbers")
    video, audio, info = tensors[VIDEO], tensors.get(AUDIO), _info(file)
    try:
        _check_pair(video, audio, info)
    except GeometryError as error:
        raise CheckpointError(f"{file.path} does not fit together. {error}") from None
    return latents.make(video, audio, info, sound=None if audio is None else _given_sound(file))


def _table_of(info: StageInfo) -> dict:
    of_model = {} if info.generation is None else {"generation": info.generation.value}
    return {"fps": info.fps, "generator_device": info.generator_device, **of_model}


def _check_pair(video: Tensor, audio: Tensor | None, info: StageInfo | None) -> None:
    """GeometryError for a picture with the sound of another film."""
    if audio is not None and info is not None:
        latents.check_audio_length(audio, pixel_frames(video.shape[2]), info.fps)


def _check(file: SafetensorsFile, key: str, what: str, check_shape: Callable) -> None:
    """CheckpointError unless the file's tensor, if it has one, is a latent; by the header, before it is read."""
    found = file.tensors.get(key)
    if found is None:
        return
    if found.dtype not in DTYPES:
        raise _strange(file, f"its {what} is of the type {found.dtype}", f"one of {', '.join(DTYPES)}")
    try:
        check_shape(found)
    except GeometryError as error:
        raise CheckpointError(f"{file.path} is not a saved latent of LTX-2. {error}") from None


def _info(file: SafetensorsFile) -> StageInfo | None:
    """What the file says of its stage; None for latents that other nodes made."""
    if INFO not in file.metadata:
        return None
    info = _table(file, INFO, "'fps' and 'generator_device'")
    fps, device = info.get("fps"), info.get("generator_device")
    if type(fps) not in (int, float) or not LOWEST_FPS <= fps <= HIGHEST_FPS:
        expected = f"a number from {LOWEST_FPS:g} to {HIGHEST_FPS:g}"
        raise _strange(file, f"the 'fps' in its {INFO!r} metadata is {shortened(fps)}", expected)
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        found = f"the 'generator_device' in its {INFO!r} metadata is {shortened(device)}"
        raise _strange(file, found, "a kind of device such as 'cuda' or 'cpu'")
    return StageInfo(float(fps), device, _generator_state(file, device), _generation(file, info.get("generation")))


def _generation(file: SafetensorsFile, value: object) -> Generation | None:
    """Older files do not say it."""
    if value is None:
        return None
    known = [generation.value for generation in Generation]
    if value not in known:
        found = f"the 'generation' in its {INFO!r} metadata is {shortened(value)}"
        raise _strange(file, found, f"one of {', '.join(known)}")
    return Generation(value)


def _given_sound(file: SafetensorsFile) -> SoundInfo | None:
    """What the file says of a sound that was given; None where the sound was made."""
    if GIVEN_INFO not in file.metadata:
        return None
    rate = _table(file, GIVEN_INFO, "'sample_rate'").get("sample_rate")
    if rate is None:
        return SoundInfo()
    if type(rate) is not int:
        raise _strange(file, f"the 'sample_rate' in its {GIVEN_INFO!r} metadata is {shortened(rate)}", "a whole number")
    found = file.tensors.get(GIVEN)
    if found is None or found.dtype != "F32":
        is_what = "missing" if found is None else f"of the type {found.dtype}"
        raise _strange(file, f"its {GIVEN!r} is {is_what}", "a waveform (channels, samples) in F32")
    try:
        return SoundInfo(GivenSound(file.read([GIVEN])[GIVEN].clone(), rate))
    except ConditioningError as error:
        raise CheckpointError(f"Cannot use the {GIVEN!r} in {file.path}. {error}") from None


def _table(file: SafetensorsFile, key: str, entries: str) -> dict:
    """A table of the metadata; CheckpointError where it cannot be read."""
    try:
        table = json.loads(file.metadata[key])
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _strange(file, f"its {key!r} metadata cannot be read ({reason})", "a table in JSON") from None
    if not isinstance(table, dict):
        raise _strange(file, f"its {key!r} metadata is no table", f"{entries} in one")
    return table


def _generator_state(file: SafetensorsFile, device: str) -> Tensor:
    found = file.tensors.get(GENERATOR)
    expected = f"the state of a random generator on '{device}'"
    if found is None:
        raise _strange(file, f"it has no {GENERATOR!r}", expected)
    if found.dtype != "U8" or len(found.shape) != 1:
        raise _strange(file, f"its {GENERATOR!r} is {found.dtype} of shape {list(found.shape)}", "bytes in a row, U8")
    state = file.read([GENERATOR])[GENERATOR].clone()
    if problem := problem_of_generator(device, state):
        raise _strange(file, f"its {GENERATOR!r} is not {expected}: {problem}", "what LTX Save Latent writes")
    return state


def _strange(file: SafetensorsFile, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"Cannot use {file.path}: {found}; expected {expected}. Save the latent again with LTX Save Latent."
    )
