"""Builds the small model's tensors from the engine's own modules and writes its files."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ...ltx_core.text.connector import EmbeddingsConnector
from ...ltx_core.text.encoder import build_feature_extractor
from ...ltx_core.text.gemma import GemmaModel
from ...ltx_core.text.gemma4_params import Gemma4Params
from ...ltx_core.text.gemma_params import GemmaParams
from ...ltx_core.text.params import ConnectorParams, extractor_params
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ...ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ...ltx_core.vocoder.model import build_vocoder
from ...ltx_core.vocoder.params import VocoderParams
from . import values
from .layout import Tensors, checkpoint_tensors, prefixed, save, stored_dtype
from .sizes import GEMMA_CONFIG, LORA_RANK, Sizes, ltx_2_3


def files_of(name: str) -> tuple[Path, Path, Path]:
    """Checkpoint, upsampler and LoRA of the model with that `Sizes.name`."""
    return (
        Path("checkpoints", f"{name}-dev.safetensors"),
        Path("latent_upscale_models", f"{name}-spatial-upscaler-x2.safetensors"),
        Path("loras", f"{name}-distilled-lora.safetensors"),
    )


CHECKPOINT, UPSAMPLER, LORA = files_of("ltx-2.3-small")
GEMMA_FOLDER = Path("text_encoders", "gemma-3-small")
GEMMA_FILE = Path("text_encoders", "gemma-3-small.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def write_small_model(folder: Path, tokenizer: Path, seed: int = 0, gemma: dict = GEMMA_CONFIG) -> list[Path]:
    """Writes all files below `folder` (as ComfyUI's models folder), returns them; `tokenizer` is Gemma-3's folder.

    `gemma`: the text encoder's config.json, as wide as GEMMA_CONFIG says.
    """
    missing = [name for name in TOKENIZER_FILES if not (tokenizer / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{tokenizer} lacks {' and '.join(missing)}: it must be a Gemma-3 tokenizer's folder")
    written = write_model_files(folder, ltx_2_3(), seed, gemma)
    random = values.RandomValues(seed)
    weights = _gemma(random, gemma)
    root = folder / GEMMA_FOLDER
    save(root / "model.safetensors", prefixed("language_model.model.", weights), {"format": "pt"})
    (root / "config.json").write_text(json.dumps(gemma, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, root / name)
    tokenizer_json = np.frombuffer((tokenizer / "tokenizer.json").read_bytes(), dtype=np.uint8)
    single = {**prefixed("model.", weights), "tokenizer_json": torch.from_numpy(tokenizer_json.copy())}
    save(folder / GEMMA_FILE, single, {})
    return [*written, root, folder / GEMMA_FILE]


def write_model_files(folder: Path, sizes: Sizes, seed: int = 0, gemma: dict | None = None) -> list[Path]:
    """Writes what belongs to one generation, checkpoint, upsampler and LoRA, below `folder`, and returns them.

    The text encoder is one for all; `gemma`: its config, if it is not that of `sizes`.
    """
    random, config = values.RandomValues(seed), sizes.config
    parts = model_parts(random, sizes, GemmaParams.from_hf_config(gemma or sizes.gemma))
    checkpoint, upsampler, lora = (folder / path for path in files_of(sizes.name))
    save(checkpoint, checkpoint_tensors(parts), {"config": json.dumps(config), "model_version": sizes.version})
    write_upsampler(upsampler, random, sizes)
    write_lora(lora, random, config, parts["transformer"])
    return [checkpoint, upsampler, lora]


def model_parts(random: values.RandomValues, sizes: Sizes, gemma: GemmaParams | Gemma4Params) -> dict[str, Tensors]:
    """Tensors of all that a checkpoint holds, for a text encoder of that kind."""
    config = sizes.config
    return {
        "transformer": _transformer(random, config),
        **_connectors(random, config),
        "text_projection": _projection(random, config, gemma),
        **_video_vae(random, sizes),
        **_audio_vae(random, config),
        "vocoder": _vocoder(random, config),
    }


def write_upsampler(path: Path, random: values.RandomValues, sizes: Sizes) -> None:
    save(path, _upsampler(random, sizes.upsampler), {"config": json.dumps(sizes.upsampler)})


def filled(module: nn.Module, draw: values.Values) -> Tensors:
    """Tensors for a module's names and shapes."""
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensors[name] = draw(name, tuple(tensor.shape)).to(stored_dtype(name)).contiguous()
    return tensors


def _transformer(random: values.RandomValues, config: dict) -> Tensors:
    module = AVTransformer(TransformerParams.from_config(config), device="meta")
    return filled(module, values.transformer_values(random))


def _connectors(random: values.RandomValues, config: dict) -> dict[str, Tensors]:
    parts = {}
    for modality in ("video", "audio"):
        module = EmbeddingsConnector(ConnectorParams.from_config(config, modality), device="meta")
        parts[f"{modality}_connector"] = filled(module, values.text_values(random, f"{modality}_connector"))
    return parts


def _projection(random: values.RandomValues, config: dict, gemma: GemmaParams | Gemma4Params) -> Tensors:
    params = extractor_params(config, gemma.hidden_size, gemma.layers + 1)
    return filled(build_feature_extractor(params, device="meta"), values.text_values(random, "projection"))


def _video_vae(random: values.RandomValues, sizes: Sizes) -> dict[str, Tensors]:
    params = VideoVAEParams.from_config(sizes.config)
    draws = values.video_values if sizes.keeps_picture else values.plain_video_values
    return {
        f"video_{side}": filled(kind(params, device="meta"), draws(random, side))
        for side, kind in (("encoder", VideoEncoder), ("decoder", VideoDecoder))
    }


def _audio_vae(random: values.RandomValues, config: dict) -> dict[str, Tensors]:
    params = AudioVAEParams.from_config(config)
    return {
        f"audio_{side}": filled(kind(params, device="meta"), values.audio_values(random, side))
        for side, kind in (("encoder", AudioEncoder), ("decoder", AudioDecoder))
    }


def _vocoder(random: values.RandomValues, config: dict) -> Tensors:
    # On the CPU, as its filters and bases are computed.
    params = VocoderParams.from_config(config)
    module = build_vocoder(params)
    if params.bandwidth_extension is None:
        networks = {"": params.generator}
    else:
        networks = {"vocoder.": params.generator, "bwe_generator.": params.bandwidth_extension.generator}
    strides = {
        f"{name}ups.{i}.weight": rate
        for name, network in networks.items()
        for i, rate in enumerate(network.upsample_rates)
    }
    return filled(module, values.vocoder_values(random, module, strides))


def _upsampler(random: values.RandomValues, config: dict) -> Tensors:
    # On the CPU, as its blur is computed.
    module = LatentUpsampler(UpsamplerParams.from_config(config))
    return filled(module, values.upsampler_values(random, module))


def _gemma(random: values.RandomValues, config: dict) -> Tensors:
    module = GemmaModel(GemmaParams.from_hf_config(config), device="meta")
    return filled(module, values.text_values(random, "gemma"))


def write_lora(path: Path, random: values.RandomValues, config: dict, transformer: Tensors) -> None:
    """A pair for each Linear layer of the transformer, as in the official distilled LoRA."""
    module = AVTransformer(TransformerParams.from_config(config), device="meta")
    tensors = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            down, up = values.lora_pair(random, name, tuple(transformer[f"{name}.weight"].shape), LORA_RANK)
            tensors[f"diffusion_model.{name}.lora_A.weight"] = down.bfloat16()
            tensors[f"diffusion_model.{name}.lora_B.weight"] = up.bfloat16()
    save(path, tensors, {"format": "pt"})
