"""The frame of the table of file kinds: what a row is, how rows write their files, and what loaded files give.

Rows stand in lists called ROWS, in modules file_kinds_NAME.py; check_file_kinds.py drives all of them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput

CHECKPOINT = "ltx-2.3-small-dev.safetensors"
CHECKPOINT_2_0 = "ltx-2.0-small-dev.safetensors"
LORA = "ltx-2.3-small-distilled-lora.safetensors"
UPSAMPLER = "ltx-2.3-small-spatial-upscaler-x2.safetensors"
GEMMA, GEMMA_FOLDER = "gemma-3-small.safetensors", "gemma-3-small"

# The loaders' inputs with the small model's own files, by the end of the node's id.
PLAIN = {
    "ModelLoader": {"checkpoint": CHECKPOINT, "weight_dtype": "auto"},
    "VAELoader": {"checkpoint": CHECKPOINT, "audio_file": "same file"},
    "TextEncoderLoader": {"text_encoder": GEMMA, "projection": CHECKPOINT, "device": "default"},
    "UpsamplerLoader": {"upsampler": UPSAMPLER},
    "LoraLoader": {"lora": LORA, "strength_stage_one": 0.5, "strength_stage_two": 1.0},
}

Tensors = dict[str, Tensor]
Inputs = dict[str, object]


@dataclass(frozen=True)
class FileKind:
    """A row: a form that files come in, and what must happen with it.

    `write` puts small synthetic files into model folders and returns those inputs of the loader `node` that differ from
    PLAIN.  `refused`: the input that is refused at queue, and what the message says (a regular expression); None: it
    runs, and what it gives equals what `plain` gives (files written the same way; None: the small model's own) within
    `tolerance` of the largest value.  `together`: the file is whole by itself, and refused for what stands beside it.
    """

    name: str
    node: str
    write: Callable[["Models"], Inputs]
    refused: tuple[str, str] | None = None
    tolerance: float = 1e-6
    together: bool = False
    plain: Callable[["Models"], Inputs] | None = None


class Models:
    """ComfyUI's model folders of one test, and the small model to make other files from."""

    def __init__(self, models: Path, folder: Callable[[str], Path]):
        self._models, self.folder = models, folder

    def small(self, name: str = CHECKPOINT) -> tuple[Tensors, dict[str, str]]:
        """A copy of the tensors and the metadata of one of the small model's files."""
        path = next(self._models.glob(f"*/{name}"))
        return dict(_read(path)[0]), dict(_read(path)[1])

    @property
    def config(self) -> dict:
        return json.loads(self.small()[1]["config"])

    @property
    def gemma_folder(self) -> Path:
        return self._models / "text_encoders" / GEMMA_FOLDER

    def save(self, kind: str, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = {}) -> str:  # noqa: B006
        """Writes a file into a model folder ("vae"); `name` may have folders.  Returns the name as loaders list it."""
        path = self.folder(kind) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, dict(metadata) or None)
        return name

    def text(self, kind: str, name: str, content: str) -> None:
        path = self.folder(kind) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def header(self, kind: str, name: str, shapes: Mapping[str, tuple[int, ...]], dtype="BF16", metadata=None) -> str:
        """A file of any size as far as its header goes: its tensors are a hole in the file."""
        size = {"BF16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1, "I32": 4, "F16": 2}[dtype]
        table, end = ({} if metadata is None else {"__metadata__": metadata}), 0
        for key, shape in shapes.items():
            bytes_ = size * int(torch.Size(shape).numel())
            table[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + bytes_]}
            end += bytes_
        raw = json.dumps(table).encode()
        path = self.folder(kind) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            file.truncate(8 + len(raw) + end)
        return name


@cache
def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, "pt") as file:
        return load_file(path), file.metadata() or {}


def parts(tensors: Mapping[str, Tensor], *prefixes: str) -> Tensors:
    """The tensors whose names begin with one of `prefixes`."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}


def renamed(tensors: Mapping[str, Tensor], old: str, new: str) -> Tensors:
    """The tensors whose names begin with `old`, beginning with `new` instead."""
    return {new + name[len(old) :]: tensor for name, tensor in tensors.items() if name.startswith(old)}


def results(node: str, handle) -> dict[str, Tensor]:
    """What the components of a loader's output compute for fixed random inputs, in float32."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    found = _RESULTS[node](handle, draw)
    return {name: tensor.float() for name, tensor in found.items()}


def _of_model(handle, draw) -> dict[str, Tensor]:
    params = handle.transformer_params
    features = draw(1, 9, params.video.context_dim), draw(1, 9, params.audio.context_dim), True
    contexts = handle.contexts((features, None), handle.stage(1), 0, 1)
    geometry = LatentGeometry(64, 64, 9, 24.0)
    tokens = [draw(1, count, 128) for count in (geometry.video_tokens, geometry.audio_frames)]
    found = {"video context": contexts.video, "audio context": contexts.audio}
    for stage in (1, 2):
        model = handle.stage(stage).load().transformer
        ropes = model.rope_tables(geometry.video_positions(), geometry.audio_positions())
        sigma = torch.tensor([0.7])
        inputs = [ModalityInput(t, torch.full(t.shape[:2], 0.7), sigma, r) for t, r in zip(tokens, ropes, strict=True)]
        [(video, audio)] = model(*inputs, [GuidancePass("cond", contexts.video, contexts.audio)])
        found |= {f"video of stage {stage}": video, f"audio of stage {stage}": audio}
    return found


def _of_vae(handle, draw) -> dict[str, Tensor]:
    decoder, vocoder = handle.audio_decoder().load(), handle.vocoder().load()
    latent = draw(1, decoder.params.latent_channels, 2, decoder.params.latent_mel_bins)
    return {
        "latent": handle.video_encoder().load()(draw(1, 3, 1, 32, 32).clamp(-1, 1)),
        "picture": handle.video_decoder().load()(draw(1, 128, 2, 2, 2)),
        "sound": two_stage.decode_audio(decoder, vocoder, latent),
        "statistics": handle.statistics().normalize(draw(1, 128, 1, 1, 1)),
    }


def _of_text_encoder(handle, draw) -> dict[str, Tensor]:
    ids = torch.tensor([handle.tokenizer.encode("a lake at dawn, ducks call")])
    video, audio = handle.component().load().features(ids)
    return {"ids": ids, "video features": video, "audio features": audio}


def _of_upsampler(handle, draw) -> dict[str, Tensor]:
    return {"latent": handle.component().load()(draw(1, 128, 2, 4, 4))}


_RESULTS = {
    "ModelLoader": _of_model,
    "LoraLoader": _of_model,
    "VAELoader": _of_vae,
    "TextEncoderLoader": _of_text_encoder,
    "UpsamplerLoader": _of_upsampler,
}


MODEL, VAE, AUDIO, VOCODER = "model.diffusion_model.", "vae.", "audio_vae.", "vocoder."
PROJECTION = "text_embedding_projection."
CONNECTORS = (f"{MODEL}video_embeddings_connector.", f"{MODEL}audio_embeddings_connector.")
MODEL_FILE, OTHER = "model.safetensors", "other.safetensors"


def nothing(_: Models) -> Inputs:
    return {}


def only(models: Models, *prefixes: str) -> tuple[Tensors, dict[str, str]]:
    """Those parts of the small checkpoint, with its metadata."""
    tensors, metadata = models.small()
    return parts(tensors, *prefixes), metadata


def config_beside(models: Models, kind: str, folder: str = "", **changes: dict) -> None:
    config = {section: {**values, **changes.get(section, {})} for section, values in models.config.items()}
    models.text(kind, f"{folder}config.json", json.dumps(config))


def names(kind: str, slot: str, *names: str, file: str = MODEL_FILE):
    """A file with tensors of those names, as another tool writes them."""
    return lambda models: {slot: models.save(kind, file, {name: torch.ones(4, 4) for name in names})}


def version(version: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = models.small()
        return {"checkpoint": models.save("checkpoints", MODEL_FILE, tensors, {**metadata, "model_version": version})}

    return write
