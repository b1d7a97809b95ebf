"""Files of the official layout with random weights of the full size, written quickly.

Weights are drawn on the GPU if there is one, and go to disk tensor by tensor: neither file ever lies in memory.
"""

import json
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn
from workload import config

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.params import ConnectorParams
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ltx_duo.ltx_core.vocoder.model import Vocoder
from ltx_duo.ltx_core.vocoder.params import VocoderParams
from ltx_duo.scripts.small_model_parts.sizes import UPSAMPLER_CONFIG, model_config

CHECKPOINT = Path("checkpoints", "ltx-2.3-22b-dev.safetensors")
LORA = Path("loras", "ltx-2.3-22b-distilled-lora-384.safetensors")
UPSAMPLER = Path("latent_upscale_models", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
RANK = 384
THREADS = 8
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float8_e4m3fn: "F8_E4M3"}

Draw = Callable[[torch.Size, str], Tensor]
# Name in the file, shape, dtype, and how to draw it.
Entry = tuple[str, torch.Size, torch.dtype, Draw]


def write_models(folder: Path, *, fp8: bool, small: bool, layers: int | None = None) -> list[Path]:
    """Writes checkpoint, distilled LoRA and upsampler below `folder` (a ComfyUI models folder); returns the paths."""
    settings = model_config() if small else config(layers)
    upsampler = UPSAMPLER_CONFIG | ({} if small else {"mid_channels": 1024, "num_blocks_per_stage": 4})
    metadata = {"config": json.dumps(settings), "model_version": "2.3.0"}
    _write(folder / CHECKPOINT, list(_checkpoint(settings, fp8)), metadata)
    _write(folder / LORA, list(_lora(settings, 8 if small else RANK)), {})
    module = LatentUpsampler(UpsamplerParams.from_config(upsampler), device="meta")
    _write(folder / UPSAMPLER, list(_entries("", module)), {"config": json.dumps(upsampler)})
    return [folder / CHECKPOINT, folder / LORA, folder / UPSAMPLER]


def _checkpoint(settings: dict, fp8: bool) -> Iterator[Entry]:
    meta = {"device": "meta"}
    prefix = "model.diffusion_model."
    yield from _entries(prefix, AVTransformer(TransformerParams.from_config(settings), **meta), fp8)
    for modality in ("video", "audio"):
        connector = EmbeddingsConnector(ConnectorParams.from_config(settings, modality), **meta)
        yield from _entries(f"{prefix}{modality}_embeddings_connector.", connector)
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


def _entries(prefix: str, module: nn.Module, fp8: bool = False) -> Iterator[Entry]:
    for name, tensor in module.state_dict().items():
        dtype, draw = torch.bfloat16, _vector
        if "scale_shift_table" in name:
            dtype = torch.float32
        elif name.endswith("norm.weight"):
            draw = _norm
        elif tensor.ndim >= 2:
            draw = _matrix
            if fp8 and "transformer_blocks." in name and tensor.ndim == 2:
                dtype = torch.float8_e4m3fn
        yield prefix + name, tensor.shape, dtype, draw


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


def _write(path: Path, entries: list[Entry], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Wide elements first, so that each tensor is aligned to its own.
    entries.sort(key=lambda entry: -entry[2].itemsize)
    header, end = {"__metadata__": metadata}, 0
    for name, shape, dtype, _ in entries:
        size = shape.numel() * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    torch.manual_seed(0)
    with path.open("wb") as file, ThreadPoolExecutor(THREADS) as pool:
        file.write(struct.pack("<Q", len(text)) + text)
        file.flush()
        written: deque[Future] = deque()
        for name, shape, dtype, draw in entries:
            values = draw(shape, device).to(dtype).contiguous().view(-1).view(torch.uint8)
            offset = 8 + len(text) + header[name]["data_offsets"][0]
            written.append(pool.submit(_write_at, file.fileno(), values, offset))
            while len(written) > 2 * THREADS:
                written.popleft().result()
        for part in written:
            part.result()


def _write_at(descriptor: int, values: Tensor, offset: int) -> None:
    data = values.cpu().numpy().data
    while len(data):
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
