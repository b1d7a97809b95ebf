"""From opened files to components under ComfyUI's memory manager: which module, weights, dtype and device."""

from collections.abc import Callable, Mapping
from functools import partial

import comfy.model_management as mm
import torch
from torch import Tensor, nn

from ...ltx_core import checkpoint as files_of_model
from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.gguf_blocks import BlockType
from ...ltx_core.gguf_weights import expanded
from ...ltx_core.loading import build_module, text_encoder_module, weight_shapes
from ...ltx_core.quantization import dequantize, keep_fp8, keep_marked, marked_state, plain_shapes, quantization
from ...ltx_core.transformer.sound_only import of_sound, without_video
from . import dtypes, gguf_parts, memory
from .attention import chosen_attention
from .files import load_tensors
from .layers import to_fp8

Part = files_of_model.Component
Factory = Callable[..., nn.Module]

# Layers that no quantised Linear can stand for.
EMBEDDINGS = ("embed_tokens",)
TRANSFORMER = {"transformer": Part.TRANSFORMER}
# At work only before a stage begins, and large: under a patcher of their own they make room for the transformer.
CONNECTORS = {"video_connector": Part.VIDEO_CONNECTOR, "audio_connector": Part.AUDIO_CONNECTOR}
MODEL_PARTS = TRANSFORMER | CONNECTORS
SOUND_CONNECTOR = {"audio_connector": Part.AUDIO_CONNECTOR}


class Model(nn.Module):
    """What one patcher manages for sampling, by name: the transformer, or the two text connectors beside it."""

    def __init__(self, factories: Mapping[str, Factory], **how):
        super().__init__()
        for name, factory in factories.items():
            self.add_module(name, factory(**how))


def weights_of(part: Part, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A part's weights as plain tensors."""
    state = expanded(checkpoint, part, marked_state(checkpoint, part, tensors), torch.bfloat16)
    return dequantize(state, source=checkpoint.path, shapes=weight_shapes(checkpoint, part))


def model_weights(
    part: Part, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], weight_dtype: str, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A part's weights and the scales of its float8 layers: as the file has them ("auto"), all "bf16", or "fp8", where
    packed ones stay as they are."""
    if weight_dtype == "bf16":
        return weights_of(part, checkpoint, tensors), {}
    weights, scales = keep_fp8(marked_state(checkpoint, part, tensors), source=checkpoint.path)
    if weight_dtype == "fp8":
        weights, made = to_fp8(weights, device)
        scales |= made
    return weights, scales


def kept_packed(checkpoint: Checkpoint, weight_dtype: str) -> str | None:
    """What is to be said where weights were asked for as "fp8" and stay in the file's packed format."""
    layers = quantization(checkpoint, Part.TRANSFORMER).values()
    formats = sorted({layer.format for layer in layers if layer.packed})
    if weight_dtype != "fp8" or not formats:
        return None
    count = sum(layer.packed for layer in layers)
    return f"{count:,} layers stay in {' and '.join(formats)}, as the file has them: they are not made fp8."


def encoder_weights(
    part: Part, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, BlockType]]:
    """A part's weights, Gemma's packed ones as they are, and the kinds of those in GGUF's blocks by name."""
    if gguf_parts.is_gguf(checkpoint):
        return gguf_parts.weights_in_blocks(part, checkpoint, tensors)
    state = marked_state(checkpoint, part, tensors)
    if part is Part.GEMMA:
        return keep_marked(state, source=checkpoint.path, expand=EMBEDDINGS), {}
    # A projection is used once a prompt, and expanding it there would take more than it saves.
    return dequantize(state, source=checkpoint.path, shapes=plain_shapes(checkpoint, part)), {}


def build_sound_transformer(checkpoint: Checkpoint, weight_dtype: str) -> memory.PatchedModule:
    """The transformer with the sound's layers alone; the weights of all others are not read."""

    def build(checkpoint: Checkpoint, part: Part, **how) -> nn.Module:
        return without_video(build_module(checkpoint, part, **how))

    return build_model(checkpoint.only(Part.TRANSFORMER, of_sound), weight_dtype, build=build)


def build_model(
    checkpoint: Checkpoint,
    weight_dtype: str,
    parts: Mapping[str, Part] = TRANSFORMER,
    build: Factory = build_module,
    device: torch.device | None = None,
) -> memory.PatchedModule:
    """The transformer, or the other `parts` for sampling; `build` makes each of its file.

    `device`: where it computes; None: where ComfyUI does, which may also keep weights there (--highvram).
    """
    offload_device = mm.unet_offload_device() if device is None else torch.device("cpu")
    device = device or mm.get_torch_device()
    choice = dtypes.for_model(weight_dtype)
    tensors = load_tensors(checkpoint)
    state, scales, blocks = {}, {}, {}
    for name, part in parts.items():
        if not gguf_parts.is_gguf(checkpoint):
            weights, own = model_weights(part, checkpoint, tensors, choice.weights, device)
        elif weight_dtype == "auto":
            weights, kinds = gguf_parts.weights_in_blocks(part, checkpoint, tensors)
            blocks.update({f"{name}.{key}": kind for key, kind in kinds.items()})
            own = {}
        elif weight_dtype == "fp8":
            weights, own = gguf_parts.fp8_weights(part, checkpoint, tensors, device)
        else:
            weights, own = weights_of(part, checkpoint, tensors), {}
        state.update({f"{name}.{key}": tensor for key, tensor in weights.items()})
        scales.update({f"{name}.{layer}": scale for layer, scale in own.items()})
    factories = {name: partial(build, checkpoint, part) for name, part in parts.items()}
    if "transformer" in factories:
        factories["transformer"] = partial(factories["transformer"], attention=chosen_attention())
    return memory.build(
        partial(Model, factories),
        state,
        source=checkpoint.path,
        scales=scales,
        blocks=blocks,
        compute_dtype=choice.compute,
        load_device=device,
        offload_device=offload_device,
    )


def build_text_encoder(gemma: Checkpoint, projection: Checkpoint, device_choice: str) -> memory.PatchedModule:
    """Gemma with the text projection."""
    cpu = torch.device("cpu")
    device = cpu if device_choice == "cpu" else mm.text_encoder_device()
    offload = cpu if device_choice == "cpu" else mm.text_encoder_offload_device()
    compute = dtypes.for_text_encoder(device_choice).compute
    state, blocks = {}, {}
    for name, part, source in (
        ("gemma", Part.GEMMA, gemma),
        ("feature_extractor", Part.TEXT_PROJECTION, projection),
    ):
        weights, kinds = encoder_weights(part, source, load_tensors(source))
        state.update({f"{name}.{key}": tensor for key, tensor in weights.items()})
        blocks.update({f"{name}.{key}": kind for key, kind in kinds.items()})
    return memory.build(
        partial(text_encoder_module, gemma, projection, compute_dtype=compute),
        state,
        source=gemma.path,
        blocks=blocks,
        compute_dtype=compute,
        load_device=device,
        offload_device=offload,
        expand=True,
    )


def build_vae_part(
    part: Part, checkpoint: Checkpoint, compute_dtype: torch.dtype | None = None
) -> memory.PatchedModule:
    """One network of the VAEs, the vocoder or the upsampler; `compute_dtype` None: ComfyUI's choice for VAEs."""
    device = mm.vae_device()
    return memory.build(
        partial(build_module, checkpoint, part),
        weights_of(part, checkpoint, load_tensors(checkpoint)),
        source=checkpoint.path,
        compute_dtype=compute_dtype or dtypes.for_vae().compute,
        load_device=device,
        offload_device=mm.vae_offload_device(),
    )
