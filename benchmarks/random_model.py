"""Files of the official layout with random weights of the full size, written quickly.

`tensor_writer` writes them tensor by tensor: no file ever lies in memory.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tensor_writer import Draw, Entry, write_safetensors
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from workload import config

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams
from ltx_duo.ltx_core.text.params import ConnectorParams, FeatureExtractorParams
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ltx_duo.ltx_core.vocoder.model import Vocoder
from ltx_duo.ltx_core.vocoder.params import VocoderParams
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_CONFIG, UPSAMPLER_CONFIG, model_config

CHECKPOINT = Path("checkpoints", "ltx-2.3-22b-dev.safetensors")
LORA = Path("loras", "ltx-2.3-22b-distilled-lora-384.safetensors")
TEXT_ENCODER = Path("text_encoders", "gemma_3_12B_it_fp4_mixed.safetensors")
PROJECTION = Path("text_encoders", "ltx-2.3-projection.safetensors")
UPSAMPLER = Path("latent_upscale_models", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
RANK = 384
GEMMA_12B = {"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48, "num_attention_heads": 16,
             "num_key_value_heads": 8, "head_dim": 256}  # fmt: skip
# Root mean square of what random bytes of nvfp4 stand for, with scales as `_block_scales` draws them.
NVFP4_SIZE = 2.93 * 1.04


def write_models(folder: Path, *, weights: str, small: bool, layers: int | None = None) -> list[Path]:
    """Writes checkpoint, distilled LoRA and upsampler below `folder` (a ComfyUI models folder); returns the paths.

    `weights`: what the matrices of the transformer's blocks are stored as, "bf16", "fp8" or "nvfp4".
    """
    upsampler = UPSAMPLER_CONFIG | ({} if small else {"mid_channels": 1024, "num_blocks_per_stage": 4})
    write_checkpoint(folder / CHECKPOINT, weights=weights, small=small, layers=layers)
    write_lora(folder / LORA, small=small, layers=layers)
    module = LatentUpsampler(UpsamplerParams.from_config(upsampler), device="meta")
    write_safetensors(folder / UPSAMPLER, list(_entries("", module)), {"config": json.dumps(upsampler)})
    return [folder / CHECKPOINT, folder / LORA, folder / UPSAMPLER]


def write_checkpoint(path: Path, *, weights: str, small: bool, layers: int | None = None) -> None:
    settings = settings_of_model(small, layers)
    entries = list(_checkpoint(settings, weights))
    write_safetensors(path, entries, metadata_of_model(settings) | _marks(entries))


def write_lora(path: Path, *, small: bool, layers: int | None = None) -> None:
    write_safetensors(path, list(_lora(settings_of_model(small, layers), 8 if small else RANK)), {})


def write_text_encoder(gemma: Path, projection: Path, *, small: bool, layers: int | None = None) -> None:
    """Writes Gemma-3 12B as in gemma_3_12B_it_fp4_mixed (feed-forwards in nvfp4, some of the rest in fp8), with a
    tokenizer that knows no word but counts them, and the text projection of a model of the same kind."""
    settings, text = settings_of_model(small), copy.deepcopy(GEMMA_CONFIG)
    if not small:
        text["text_config"] |= GEMMA_12B
    if layers is not None:
        text["text_config"]["num_hidden_layers"] = layers
    params = GemmaParams.from_hf_config(text)
    entries = []
    for entry in _entries("model.", GemmaModel(params, device="meta")):
        name, shape = entry[:2]
        if ".mlp." in name:
            entries += _nvfp4(name, shape)
        elif name.endswith(("q_proj.weight", "o_proj.weight")):
            entries += _scaled_fp8(name, shape)
        else:
            entries.append(entry)
    layers_in = json.loads(_marks(entries)["_quantization_metadata"])["layers"]
    texts = {f"{layer}.comfy_quant": json.dumps(mark) for layer, mark in layers_in.items()}
    for name, content in (texts | {"tokenizer_json": _tokenizer()}).items():
        written = torch.tensor(list(content.encode()), dtype=torch.uint8)
        entries.append((name, written.shape, torch.uint8, _given(written)))
    write_safetensors(gemma, entries, {})
    extractor = FeatureExtractorParams.from_config(settings, params.hidden_size, params.layers + 1)
    module = FeatureExtractor(extractor, device="meta")
    write_safetensors(projection, list(_entries("text_embedding_projection.", module)), metadata_of_model(settings))


def _tokenizer() -> str:
    """A tokenizer.json: every word is one token, the unknown one."""
    vocabulary = {name: index for index, name in enumerate(("<pad>", "<eos>", "<bos>", "<unk>"))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer.to_str()


def settings_of_model(small: bool, layers: int | None = None) -> dict:
    return model_config() if small else config(layers)


def metadata_of_model(settings: dict) -> dict[str, str]:
    return {"config": json.dumps(settings), "model_version": "2.3.0"}


def transformer_entries(settings: dict, weights: str = "bf16") -> Iterator[Entry]:
    """The transformer with its connectors."""
    meta = {"device": "meta"}
    prefix = "model.diffusion_model."
    yield from _entries(prefix, AVTransformer(TransformerParams.from_config(settings), **meta), weights)
    for modality in ("video", "audio"):
        connector = EmbeddingsConnector(ConnectorParams.from_config(settings, modality), **meta)
        yield from _entries(f"{prefix}{modality}_embeddings_connector.", connector)


def _checkpoint(settings: dict, weights: str) -> Iterator[Entry]:
    meta = {"device": "meta"}
    yield from transformer_entries(settings, weights)
    video, audio = VideoVAEParams.from_config(settings), AudioVAEParams.from_config(settings)
    yield from _side("vae.", "encoder", VideoEncoder(video, **meta), statistics=True)
    yield from _side("vae.", "decoder", VideoDecoder(video, **meta))
    yield from _side("audio_vae.", "encoder", AudioEncoder(audio, **meta), statistics=True)
    yield from _side("audio_vae.", "decoder", AudioDecoder(audio, **meta))
    # Made for real: its filters and bases are computed, not drawn.
    vocoder = Vocoder(VocoderParams.from_config(settings))
    fixed = dict(vocoder.named_buffers())
    for name, shape, dtype, draw in _entries("vocoder.", vocoder):
        own = fixed.get(name.removeprefix("vocoder."))
        yield name, shape, dtype, draw if own is None else _given(own)


def _side(prefix: str, side: str, module: nn.Module, statistics: bool = False) -> Iterator[Entry]:
    """Latent statistics stand beside encoder and decoder, once."""
    for name, shape, dtype, draw in _entries("", module):
        if not name.startswith("per_channel_statistics."):
            yield f"{prefix}{side}.{name}", shape, dtype, draw
        elif statistics:
            value = 0.0 if name.endswith("mean-of-means") else 1.0
            yield prefix + name, shape, dtype, _given(torch.full(shape, value))


def _lora(settings: dict, rank: int) -> Iterator[Entry]:
    module = AVTransformer(TransformerParams.from_config(settings), device="meta")
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            rows, columns = layer.weight.shape
            key, own = f"diffusion_model.{name}", min(rank, rows, columns)
            yield f"{key}.lora_A.weight", torch.Size((own, columns)), torch.bfloat16, _matrix
            yield f"{key}.lora_B.weight", torch.Size((rows, own)), torch.bfloat16, _small_matrix


def _entries(prefix: str, module: nn.Module, weights: str = "bf16") -> Iterator[Entry]:
    for name, tensor in module.state_dict().items():
        dtype, draw = torch.bfloat16, _vector
        in_block = "transformer_blocks." in name and name.endswith(".weight") and tensor.ndim == 2
        if weights == "nvfp4" and in_block and not any(side % 64 for side in tensor.shape):
            yield from _nvfp4(prefix + name, tensor.shape)
            continue
        if "scale_shift_table" in name:
            dtype = torch.float32
        elif name.endswith("norm.weight"):
            draw = _norm
        elif tensor.ndim >= 2:
            draw = _matrix
            if weights == "fp8" and "transformer_blocks." in name and tensor.ndim == 2:
                dtype = torch.float8_e4m3fn
        yield prefix + name, tensor.shape, dtype, draw


def _nvfp4(name: str, shape: torch.Size) -> Iterator[Entry]:
    rows, columns = shape
    scale = torch.tensor(0.7 * columns**-0.5 / NVFP4_SIZE)
    blocks = torch.Size((-(-rows // 128) * 128, -(-columns // 64) * 4))
    yield name, torch.Size((rows, columns // 2)), torch.uint8, _bytes
    yield f"{name}_scale", blocks, torch.float8_e4m3fn, _block_scales
    yield f"{name}_scale_2", scale.shape, torch.float32, _given(scale)


def _scaled_fp8(name: str, shape: torch.Size) -> Iterator[Entry]:
    scale = torch.tensor(0.7 * shape[1] ** -0.5)
    yield name, shape, torch.float8_e4m3fn, lambda shape, device: torch.randn(shape, device=device)
    yield f"{name}_scale", scale.shape, torch.float32, _given(scale)


def _marks(entries: list[Entry]) -> dict[str, str]:
    """ComfyUI's table of the layers with a scale beside the weight."""
    packed = {name for name, _, dtype, _ in entries if dtype == torch.uint8}
    layers = {
        name.removesuffix(".weight_scale"): {
            "format": "nvfp4" if name.removesuffix("_scale") in packed else "float8_e4m3fn"
        }
        for name, *_ in entries
        if name.endswith(".weight_scale")
    }
    return {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})} if layers else {}


def _bytes(shape: torch.Size, device: str) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=device)


def _block_scales(shape: torch.Size, device: str) -> Tensor:
    return torch.rand(shape, device=device) + 0.5


def _matrix(shape: torch.Size, device: str, gain: float = 0.7) -> Tensor:
    return torch.randn(shape, device=device) * (gain * shape[1:].numel() ** -0.5)


def _small_matrix(shape: torch.Size, device: str) -> Tensor:
    return _matrix(shape, device, 0.1)


def _vector(shape: torch.Size, device: str) -> Tensor:
    return torch.randn(shape, device=device) * 0.02


def _norm(shape: torch.Size, device: str) -> Tensor:
    return 1 + _vector(shape, device)


def _given(tensor: Tensor) -> Draw:
    return lambda shape, device: tensor
