"""A transformer wide enough for the official LoRA's ranks, its file, and velocities to compare."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.scripts.small_model_parts import layout, sizes, values, write
from ltx_duo.tests.parity.weights import randomise

PREFIX = "model.diffusion_model."
HEADS = 32
Velocities = tuple[Tensor, Tensor]


def context_widths(heads: int) -> tuple[int, int]:
    """Of the text that picture and sound attend to, which are the streams' own."""
    return heads * 16, heads * 4


def _config(heads: int) -> dict:
    """With 32 heads 512 channels, so that ranks reach 384, and gates of 32."""
    config = copy.deepcopy(sizes.model_config())
    video, audio = context_widths(heads)
    section = {"num_layers": 1, "cross_attention_dim": video, "audio_cross_attention_dim": audio}
    for prefix, head_dim in (("", 16), ("connector_", 16), ("audio_", 4), ("audio_connector_", 4)):
        section |= {f"{prefix}num_attention_heads": heads, f"{prefix}attention_head_dim": head_dim}
    config["transformer"].update(section)
    return config


@dataclass(frozen=True)
class WideModel:
    """Random float32 weights by module name, and the names of the Linear layers."""

    config: dict
    weights: Mapping[str, Tensor]
    layers: tuple[str, ...]
    connectors: Mapping[str, Tensor]

    @classmethod
    def draw(cls, seed: int, heads: int = HEADS) -> "WideModel":
        config = _config(heads)
        module = AVTransformer(TransformerParams.from_config(config))
        randomise(module, torch.Generator().manual_seed(seed))
        layers = tuple(name for name, layer in module.named_modules() if isinstance(layer, nn.Linear))
        connectors = {
            layout.PREFIXES[part] + name: tensor
            for part, tensors in write._connectors(values.RandomValues(seed), config).items()
            for name, tensor in tensors.items()
        }
        return cls(config, module.state_dict(), layers, connectors)

    def write(self, path: Path, weights: Mapping[str, Tensor], **metadata: str) -> None:
        """A checkpoint with these tensors of the transformer, which may be any that a file has."""
        tensors = {PREFIX + name: tensor.contiguous() for name, tensor in weights.items()} | dict(self.connectors)
        metadata |= {"config": json.dumps(self.config), "model_version": sizes.MODEL_VERSION}
        save_file(tensors, path, metadata)

    def exact(self, weights: Mapping[str, Tensor]) -> AVTransformer:
        """The transformer in plain PyTorch with these weights, computing in float32."""
        module = AVTransformer(TransformerParams.from_config(self.config))
        module.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        return module


def draw_velocities(seed: int, heads: int = HEADS, sound_alone: bool = False) -> Callable[[AVTransformer], Velocities]:
    """A function that gives a transformer's velocities of video and audio for random tokens with an image, or of audio
    for its tokens alone."""
    generator = torch.Generator().manual_seed(seed)
    geometry = LatentGeometry(128, 64, 9, 24.0)
    sigma = torch.tensor([0.7])
    tokens = [torch.randn(1, n, 128, generator=generator) for n in (geometry.video_tokens, geometry.audio_frames)]
    times = [torch.full(t.shape[:2], 0.7) for t in tokens]
    times[0][:, : geometry.frame_tokens] = 0.0
    contexts = [torch.randn(1, 9, width, generator=generator) for width in context_widths(heads)]

    def velocities(model: AVTransformer) -> Velocities:
        ropes = model.rope_tables(geometry.video_positions(), geometry.audio_positions())
        inputs = [ModalityInput(*each) for each in zip(tokens, times, (sigma, sigma), ropes, strict=True)]
        if sound_alone:
            inputs[0] = None
        return model(*inputs, [GuidancePass("cond", *contexts)])[0]

    return velocities
