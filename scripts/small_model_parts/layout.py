"""The official layout of a model's files: what tensors are called and stored as, and the file around them."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}

# The parts of the single file, in its order, and what their names begin with in it.
PREFIXES = {
    "transformer": "model.diffusion_model.",
    "video_connector": "model.diffusion_model.video_embeddings_connector.",
    "audio_connector": "model.diffusion_model.audio_embeddings_connector.",
    "text_projection": "text_embedding_projection.",
    "video_encoder": "vae.encoder.",
    "video_decoder": "vae.decoder.",
    "audio_encoder": "audio_vae.encoder.",
    "audio_decoder": "audio_vae.decoder.",
    "vocoder": "vocoder.",
}
# Stands beside encoder and decoder in the file, not inside.
STATISTICS = "per_channel_statistics."

Tensors = dict[str, Tensor]


def stored_dtype(name: str) -> torch.dtype:
    """bfloat16, but float32 for tables of modulation, as in the official files."""
    return torch.float32 if "scale_shift_table" in name else torch.bfloat16


def checkpoint_tensors(parts: Mapping[str, Tensors]) -> Tensors:
    """The single file's tensors from the state dicts of its parts (PREFIXES), or of some of them."""
    tensors = {}
    for part, prefix in PREFIXES.items():
        outside = prefix.removesuffix("encoder.").removesuffix("decoder.")
        for name, tensor in parts.get(part, {}).items():
            tensors[(outside if name.startswith(STATISTICS) else prefix) + name] = tensor
    return tensors


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def save(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """Writes a .safetensors file with the header in a fixed order, which the library's own writer does not promise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Wide elements first, so that each tensor is aligned to its own.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, tensor in ordered:
        place = [end, end + tensor.nbytes]
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        end = place[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # Whole or not at all: a half-written file must not look like a finished one.
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in ordered:
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    unfinished.replace(path)
