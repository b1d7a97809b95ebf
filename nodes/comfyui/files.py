"""Model files, found through ComfyUI's folder_paths only, so that every way to configure folders works.

A choice in a node's list is a path relative to a model folder: a weight file, or in `text_encoders` also a folder that
holds a whole Hugging Face model (config.json, tokenizer, shards); shards of such a folder are not listed one by one.
GGUF files are listed where transformers and text encoders are chosen.
"""

import logging
import os
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.utils
import folder_paths
from comfy.cli_args import args
from safetensors import SafetensorError
from torch import Tensor

from ...ltx_core import unfinished
from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import CheckpointError
from ...ltx_core.gguf_file import ENDING as GGUF
from ...ltx_core.gguf_file import GgufFile
from ...ltx_core.known_configs import BESIDE, completed
from ...ltx_core.lora import LoRA
from ...ltx_core.safetensors_file import SafetensorsFile
from ...ltx_core.text.tokenizer import FILES as TOKENIZERS
from ..addresses import page_of
from ..declared import shortened
from ..names import LORA_FOLDERS
from .folder_lists import files_below

log = logging.getLogger("ltx_duo")

EXTENSIONS = (".safetensors", ".sft")
GGUF_FOLDERS = {"checkpoints", "diffusion_models", "text_encoders"}
CONFIG = "config.json"
DIFFUSERS = "model_index.json"  # in a folder of diffusers, which is refused with what to take instead
ENCODER_FOLDER = "text_encoders"
UPSAMPLER_FOLDER = "latent_upscale_models"


def register_folders() -> None:
    """Adds the upsampler folder where an older ComfyUI does not have it."""
    if UPSAMPLER_FOLDER not in folder_paths.folder_names_and_paths:
        place = os.path.join(folder_paths.models_dir, UPSAMPLER_FOLDER)
        folder_paths.folder_names_and_paths[UPSAMPLER_FOLDER] = ([place], folder_paths.supported_pt_extensions)


def names(*folders: str) -> list[str]:
    """All choices in the given model folders, sorted, each once."""
    found = set()
    endings = (*EXTENSIONS, GGUF) if GGUF_FOLDERS.issuperset(folders) else EXTENSIONS
    for folder in folders:
        listed = _listed(folder)
        models = {os.path.dirname(name) for name in listed if os.path.basename(name) == CONFIG}
        whole = models - {""} if folder == ENCODER_FOLDER else set()
        weights = (name for name in listed if name.lower().endswith(endings))
        found.update(_choice(name, whole) for name in weights)
    return sorted(found)


def _choice(name: str, models: Collection[str]) -> str:
    """What stands for a weight file in the list: its model's folder, or a GGUF file itself wherever it lies."""
    parent = os.path.dirname(name)
    return parent if parent in models and not name.lower().endswith(GGUF) else name


def _listed(folder: str) -> list[str]:
    """Weight files and configs below all places of a model folder.

    ComfyUI's own get_filename_list raises when a folder cannot be read, and does not end where links cross each other.
    """
    places = folder_paths.get_folder_paths(folder)
    return [
        file.name for place in places for file in files_below(place, (*EXTENSIONS, GGUF, CONFIG), follow_links=True)
    ]


def path(name: str, folders: Sequence[str]) -> str:
    """The full path of a choice; CheckpointError when it is gone or of a format that is not read there.

    Where several folders have a file of that name, it is the first that is no unfinished download.
    """
    endings = EXTENSIONS if folders == LORA_FOLDERS else (*EXTENSIONS, GGUF)
    found = [full for spelled in spellings(name) for folder in folders for full in _places(folder, spelled)]
    if found:
        full = next(filter(_is_whole, found), found[0]) if len(found) > 1 else found[0]
        if full != found[0]:
            _say_passed_over(found[0], full)
        if os.path.isfile(full) and not full.lower().endswith(endings):
            more = "" if folders == LORA_FOLDERS else ", and GGUF for transformer and text encoder"
            raise CheckpointError(f"{name} is not a .safetensors file; LTX Duo reads no other format{more}.")
        return full
    places = " or ".join(f"models/{folder}" for folder in folders)
    page = page_of(name)
    raise CheckpointError(
        f"File {shortened(name)} not found. Put it into {places}, press r in ComfyUI, and choose it again."
        + (f" Its address: {page}" if page else "")
    )


def spellings(name: str) -> list[str]:
    """A choice as it stands, and with this system's separators: workflows from another system have the other kind."""
    return list(dict.fromkeys((name, name.replace("\\", os.sep).replace("/", os.sep))))


@lru_cache(maxsize=32)
def _say_passed_over(first: str, taken: str) -> None:
    log.warning("LTX Duo: %s is an unfinished download; %s is used, which has the same name.", first, taken)


def _places(folder: str, name: str) -> list[str]:
    """Where files of that name lie below all places of a model folder, in their order; a model's folder if none does.

    The same places that ComfyUI's get_full_path looks at, which gives the first alone.
    """
    inside = os.path.relpath(os.path.join(os.sep, name), os.sep)
    try:
        below = [os.path.join(place, inside) for place in folder_paths.get_folder_paths(folder)]
    except KeyError:
        return []
    files = list(dict.fromkeys(full for full in below if os.path.isfile(full)))
    if files or folder != ENCODER_FOLDER or not name:
        return files
    marks = (CONFIG, DIFFUSERS)
    return [full for full in below if any(os.path.isfile(os.path.join(full, mark)) for mark in marks)]


def _is_whole(full: str) -> bool:
    """Whether a file has all that its header promises, and a folder all of its files."""
    try:
        (Checkpoint if os.path.isdir(full) or full.lower().endswith(GGUF) else SafetensorsFile).open(full)
    except CheckpointError:
        return False
    return next(unfinished.marks(Path(full)), None) is None


def open_checkpoint(name: str, folders: Sequence[str]) -> Checkpoint:
    """The opened file or folder: headers only, read again when a file has changed."""
    full = path(name, folders)
    return _opened(full, tuple(fingerprint(name, folders)))


@lru_cache(maxsize=32)
def _opened(full: str, _fingerprint: tuple) -> Checkpoint:
    return completed(Checkpoint.open(full))


def look_at_lora(name: str) -> LoRA:
    """The LoRA as its header tells, read again when the file has changed; for looking at it, not for its weights."""
    return _lora(path(name, LORA_FOLDERS), tuple(fingerprint(name, LORA_FOLDERS)))


@lru_cache(maxsize=32)
def _lora(full: str, _fingerprint: tuple) -> LoRA:
    return LoRA.open(full)


def load_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of a file or folder as ComfyUI loads them: mapped into memory, read when they are used.

    They are mapped once for all components.  Where the user has switched mapping off they are all read, and not kept.
    """
    tensors = _mapped.get(checkpoint)
    if tensors is None:
        tensors = {}
        for file in checkpoint.files:
            tensors.update(load_file(file))
        if not getattr(args, "disable_mmap", False):
            _mapped[checkpoint] = tensors
    return tensors


def load_file(file: SafetensorsFile) -> dict[str, Tensor]:
    """All tensors of a file as ComfyUI loads them; CheckpointError if it is not there as it was when it was opened."""
    file.check_unchanged()
    if isinstance(file, GgufFile):
        tensors = file.read(file.tensors)
        mapped = not getattr(args, "disable_mmap", False)
        return tensors if mapped else {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        return comfy.utils.load_torch_file(str(file.path), safe_load=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"ComfyUI cannot load {file.path}: {error}; it could be opened a moment ago. Was it changed or deleted "
            "meanwhile? Queue again."
        ) from error


_mapped: WeakKeyDictionary[Checkpoint, dict[str, Tensor]] = WeakKeyDictionary()


def fingerprint(name: str | None, folders: Sequence[str]) -> list[tuple[int, int]] | None:
    """(mtime_ns, size) of a choice's file and of what is read beside it, or of a model folder's files; None for none.

    That is the config, and for a GGUF file the tokenizer.
    """
    if name is None:
        return None
    try:
        full = path(name, folders)
    except CheckpointError:
        return None
    if os.path.isfile(full):
        read = (BESIDE, *TOKENIZERS) if full.lower().endswith(GGUF) else (BESIDE,)
        beside = (os.path.join(os.path.dirname(full), name) for name in read)
        files = [full, *filter(os.path.isfile, beside)]
    else:
        files = sorted(entry.path for entry in os.scandir(full) if entry.is_file())
    return [(stat.st_mtime_ns, stat.st_size) for stat in map(os.stat, files)]
