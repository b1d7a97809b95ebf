"""From opened files to components under ComfyUI's memory manager: which module, weights, dtype and device."""

from collections.abc import Callable, Mapping
from functools import partial

import comfy.model_management as mm
import torch
from torch import Tensor, nn

from ...ltx_core import checkpoint as files_of_model
from ...ltx_core.audio_vae.decoder import AudioDecoder
from ...ltx_core.audio_vae.params import AudioVAEParams
from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import CheckpointError
from ...ltx_core.quantization import check_supported, dequantize, quantization
from ...ltx_core.text.connector import EmbeddingsConnector
from ...ltx_core.text.encoder import TextEncoder
from ...ltx_core.text.feature_extractor import FeatureExtractor
from ...ltx_core.text.gemma import GemmaModel
from ...ltx_core.text.gemma_params import GemmaParams
from ...ltx_core.text.params import ConnectorParams, FeatureExtractorParams
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.upsampler.model import LatentUpsampler
from ...ltx_core.upsampler.params import UpsamplerParams
from ...ltx_core.video_vae.decoder import VideoDecoder
from ...ltx_core.video_vae.encoder import VideoEncoder
from ...ltx_core.video_vae.params import VideoVAEParams
from ...ltx_core.vocoder.model import build_vocoder
from ...ltx_core.vocoder.params import VocoderParams
from ...ltx_core.weights import differences
from . import memory
from .attention import chosen_attention
from .files import load_tensors

Part = files_of_model.Component
Factory = Callable[..., nn.Module]

# Names beside a quantised weight.
_BESIDE_WEIGHTS = (".weight_scale", ".scale_weight", ".input_scale", ".scale_input", ".comfy_quant", "scaled_fp8")
MODEL_PARTS = {
    "transformer": Part.TRANSFORMER,
    "video_connector": Part.VIDEO_CONNECTOR,
    "audio_connector": Part.AUDIO_CONNECTOR,
}


class ModelRoot(nn.Module):
    """What one patcher manages for sampling: the transformer and the two text connectors that belong to it."""

    def __init__(self, factories: Mapping[str, Factory], **how):
        super().__init__()
        for name, factory in factories.items():
            self.add_module(name, factory(**how))


def factory_of(part: Part, checkpoint: Checkpoint) -> Factory:
    """Builds the module of `part` with the sizes in the file's config; CheckpointError when they make no sense."""
    config = checkpoint.config
    builders = {
        Part.TRANSFORMER: lambda: partial(
            AVTransformer, TransformerParams.from_config(config), attention=chosen_attention()
        ),
        Part.VIDEO_CONNECTOR: lambda: partial(EmbeddingsConnector, ConnectorParams.from_config(config, "video")),
        Part.AUDIO_CONNECTOR: lambda: partial(EmbeddingsConnector, ConnectorParams.from_config(config, "audio")),
        Part.VIDEO_ENCODER: lambda: partial(VideoEncoder, VideoVAEParams.from_config(config)),
        Part.VIDEO_DECODER: lambda: partial(VideoDecoder, VideoVAEParams.from_config(config)),
        Part.AUDIO_DECODER: lambda: partial(AudioDecoder, AudioVAEParams.from_config(config)),
        Part.VOCODER: lambda: partial(build_vocoder, VocoderParams.from_config(config)),
        Part.UPSAMPLER: lambda: partial(LatentUpsampler, UpsamplerParams.from_config(config)),
    }
    return builders[part]()


def check_fit(part: Part, checkpoint: Checkpoint, factory: Factory) -> None:
    """CheckpointError if the file's tensors of `part`, by its header alone, are not those of the module."""
    check_supported(quantization(checkpoint, part), checkpoint.path)
    expected = {name: tensor.shape for name, tensor in factory(device="meta").state_dict().items()}
    found = {
        name: torch.Size(info.shape)
        for name, info in checkpoint.tensors(part).items()
        if name in expected or not name.endswith(_BESIDE_WEIGHTS)
    }
    if problems := differences(expected, found):
        raise CheckpointError(
            f"The {part.value} in {checkpoint.path} does not fit the model that its config describes: {problems}. "
            "Use the file as its publisher released it; if it is, download it again."
        )


def weights_of(
    part: Part, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], keep_fp8: bool = False
) -> dict[str, Tensor]:
    """A part's weights as plain tensors; fp8 ones without a scale may stay as they are."""
    state = checkpoint.state_dict(part, tensors)
    layers = quantization(checkpoint, part)
    if not layers or (keep_fp8 and not any(layer.scaled for layer in layers.values())):
        return {name: tensor for name, tensor in state.items() if not name.endswith(_BESIDE_WEIGHTS)}
    return dequantize(state, source=checkpoint.path)


def gemma_params(checkpoint: Checkpoint) -> GemmaParams:
    """Sizes of the text encoder, from the folder's config.json or from a single file's shapes."""
    checkpoint.require(Part.GEMMA)
    config = checkpoint.gemma_config
    if config is not None:
        return GemmaParams.from_hf_config(config)
    return GemmaParams.from_shapes({name: info.shape for name, info in checkpoint.tensors(Part.GEMMA).items()})


def check_text_encoder(gemma: Checkpoint, projection: Checkpoint) -> tuple[GemmaParams, FeatureExtractorParams]:
    """Sizes of both parts; CheckpointError when either is not what it should be, or they do not go together."""
    params = gemma_params(gemma)
    projection.require(Part.TEXT_PROJECTION)
    extractor = FeatureExtractorParams.from_config(projection.config, params.hidden_size, params.layers + 1)
    check_fit(Part.GEMMA, gemma, partial(GemmaModel, params))
    check_fit(Part.TEXT_PROJECTION, projection, partial(FeatureExtractor, extractor))
    return params, extractor


def build_model(checkpoint: Checkpoint, weight_dtype: str) -> memory.Component:
    """Transformer and connectors, for sampling."""
    device = mm.get_torch_device()
    storage = mm.unet_dtype(device, supported_dtypes=[torch.bfloat16, torch.float32])
    compute = _compute_dtype(device)
    if weight_dtype == "auto" and storage in memory.FP8:
        weight_dtype = "fp8"
    tensors = load_tensors(checkpoint)
    state = {}
    for name, part in MODEL_PARTS.items():
        weights = weights_of(part, checkpoint, tensors, keep_fp8=weight_dtype != "bf16")
        if weight_dtype == "fp8" and part is Part.TRANSFORMER:
            weights = memory.to_fp8(weights)
        state.update({f"{name}.{key}": tensor for key, tensor in weights.items()})
    factories = {name: factory_of(part, checkpoint) for name, part in MODEL_PARTS.items()}
    return memory.build(
        partial(ModelRoot, factories),
        state,
        source=checkpoint.path,
        compute_dtype=compute,
        load_device=device,
        offload_device=mm.unet_offload_device(),
    )


def build_text_encoder(
    gemma: Checkpoint,
    projection: Checkpoint,
    params: tuple[GemmaParams, FeatureExtractorParams],
    device_choice: str,
) -> memory.Component:
    """Gemma with the text projection."""
    cpu = torch.device("cpu")
    device = cpu if device_choice == "cpu" else mm.text_encoder_device()
    offload = cpu if device_choice == "cpu" else mm.text_encoder_offload_device()
    compute = _compute_dtype(device)
    state = {
        f"{name}.{key}": tensor
        for name, part, source in (
            ("gemma", Part.GEMMA, gemma),
            ("feature_extractor", Part.TEXT_PROJECTION, projection),
        )
        for key, tensor in weights_of(part, source, load_tensors(source)).items()
    }
    return memory.build(
        partial(TextEncoder, *params, compute_dtype=compute),
        state,
        source=gemma.path,
        compute_dtype=compute,
        load_device=device,
        offload_device=offload,
    )


def build_vae_part(part: Part, checkpoint: Checkpoint, compute_dtype: torch.dtype | None = None) -> memory.Component:
    """One network of the VAEs, the vocoder or the upsampler; `compute_dtype` None: ComfyUI's choice for VAEs."""
    device = mm.vae_device()
    return memory.build(
        factory_of(part, checkpoint),
        weights_of(part, checkpoint, load_tensors(checkpoint)),
        source=checkpoint.path,
        compute_dtype=compute_dtype or mm.vae_dtype(device, [torch.bfloat16, torch.float32]),
        load_device=device,
        offload_device=mm.vae_offload_device(),
    )


def _compute_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if mm.should_use_bf16(device) else torch.float32
