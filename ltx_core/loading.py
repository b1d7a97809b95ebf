"""From files to modules in plain PyTorch: for use without ComfyUI, whose nodes load through its memory manager."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from .audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from .checkpoint import Checkpoint, Component, common_generation
from .duration_head import DurationHead, DurationHeadParams
from .errors import CheckpointError, VariantError
from .gguf_file import GgufFile
from .gguf_weights import expanded
from .lora.names import CONNECTORS
from .quantization import dequantize, marked_state, plain_shapes, quantization
from .text.connector import EmbeddingsConnector
from .text.encoder import ExtractorParams, TextEncoder, build_gemma
from .text.gemma4_params import Gemma4Params
from .text.gemma_params import GemmaParams
from .text.gguf_vocabulary import check_vocabulary, gemma_tokenizer
from .text.keys import is_gemma_4
from .text.params import ConnectorParams, FeatureExtractorParams, FeatureExtractorV20Params, extractor_params
from .text.tokenizer import GemmaTokenizer, tokenizer_file
from .transformer.model import AVTransformer
from .transformer.params import TransformerParams
from .transformer.sound_only import of_sound, without_video
from .upsampler import LatentUpsampler, UpsamplerParams
from .variants import Kind, variant_of
from .video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from .video_vae.diffusion_decoder import DiffusionVideoDecoder
from .video_vae.diffusion_params import DiffusionDecoderParams
from .vocoder.model import build_vocoder
from .vocoder.params import VocoderParams
from .weights import load_module

_CONNECTORS = (Component.VIDEO_CONNECTOR, Component.AUDIO_CONNECTOR)


def build_module(checkpoint: Checkpoint, component: Component, **options: Any) -> nn.Module:
    """The module of a component, sized by the file and without weights; `options` are ops, dtype and device.

    Not for the text projection, whose size also depends on Gemma: see `text_encoder_module`.  CheckpointError when the
    file has no config, or one that is not supported.
    """
    if component is Component.GEMMA:
        return build_gemma(gemma_params(checkpoint), **options)
    if component is Component.DURATION_HEAD:
        return DurationHead(duration_head_params(checkpoint), **options)
    return module_of_config(component, checkpoint.config_for(component), **options)


def module_of_config(component: Component, config: Mapping[str, Any], **options: Any) -> nn.Module:
    """The module that a config describes; Gemma, the text projection and the duration head have none there."""
    if component is Component.TRANSFORMER:
        return AVTransformer(TransformerParams.from_config(config), **options)
    if component in _CONNECTORS:
        modality = "video" if component is Component.VIDEO_CONNECTOR else "audio"
        return EmbeddingsConnector(ConnectorParams.from_config(config, modality), **options)
    if component in (Component.VIDEO_ENCODER, Component.VIDEO_DECODER):
        kind = VideoEncoder if component is Component.VIDEO_ENCODER else VideoDecoder
        return kind(VideoVAEParams.from_config(config), **options)
    if component is Component.DIFFUSION_DECODER:
        return DiffusionVideoDecoder(DiffusionDecoderParams.from_config(config), **options)
    if component in (Component.AUDIO_ENCODER, Component.AUDIO_DECODER):
        kind = AudioEncoder if component is Component.AUDIO_ENCODER else AudioDecoder
        return kind(AudioVAEParams.from_config(config), **options)
    if component is Component.VOCODER:
        return build_vocoder(VocoderParams.from_config(config), **options)
    if component is Component.UPSAMPLER:
        return LatentUpsampler(UpsamplerParams.from_config(config), **options)
    raise ValueError(f"a {component.value} is not a module of its own")


@lru_cache(maxsize=8)
def lora_shapes(checkpoint: Checkpoint, connectors: Checkpoint | None = None) -> Mapping[str, torch.Size]:
    """The shapes of all parameters that LoRAs may change, by the names of `LoRA.layers`.

    They come from the config, since a file may hold packed numbers.  `connectors`: the file of the text connectors,
    where it is another.
    """
    beside = connectors or checkpoint
    parts = (
        ("", checkpoint, Component.TRANSFORMER),
        *((below, beside, part) for below, part in zip(CONNECTORS, _CONNECTORS, strict=True)),
    )
    return {
        below + name: weight.shape
        for below, file, part in parts
        for name, weight in build_module(file, part, device="meta").named_parameters()
    }


def load_component(
    checkpoint: Checkpoint,
    component: Component,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """A component with its weights, in evaluation mode, computing in `dtype` (the vocoder always in float32).

    Quantised and GGUF files are expanded.  CheckpointError when the file does not have it, or does not fit its config.
    """
    checkpoint.require(component)
    return _loaded(build_module(checkpoint, component, device="meta"), checkpoint, component, dtype, device)


def load_sound_transformer(
    checkpoint: Checkpoint, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> AVTransformer:
    """The transformer for sound alone, see `without_video`; other weights are not read.  As `load_component`."""
    component = Component.TRANSFORMER
    checkpoint.require(component)
    module = without_video(build_module(checkpoint, component, device="meta"))
    return _loaded(module, checkpoint.only(component, of_sound), component, dtype, device)


def weight_shapes(checkpoint: Checkpoint, component: Component) -> dict[str, tuple[int, ...]]:
    """Shapes of a component's tensors by module name, of packed ones as the module has them.  CheckpointError as
    `quantization.plain_shapes`, and where the file has no config."""
    packed = any(layer.packed for layer in quantization(checkpoint, component).values())
    module = build_module(checkpoint, component, device="meta") if packed else None
    return plain_shapes(checkpoint, component, _shapes(module))


def duration_head_params(checkpoint: Checkpoint) -> DurationHeadParams:
    """The duration head's sizes, from the shapes of its tensors; CheckpointError where one of them is missing."""
    checkpoint.require(Component.DURATION_HEAD)
    return DurationHeadParams.from_shapes(_shapes_in(checkpoint, Component.DURATION_HEAD), checkpoint.own_config)


def gemma_params(checkpoint: Checkpoint) -> GemmaParams | Gemma4Params:
    """Gemma's sizes: from its config, or else from the shapes in a single file."""
    checkpoint.require(Component.GEMMA)
    shapes = _shapes_in(checkpoint, Component.GEMMA)
    params = Gemma4Params if is_gemma_4(shapes) else GemmaParams
    config = checkpoint.gemma_config
    return params.from_shapes(shapes) if config is None else params.from_hf_config(config)


def text_encoder_module(gemma: Checkpoint, projection: Checkpoint, **options: Any) -> TextEncoder:
    """Gemma and the text projection, without weights.  CheckpointError when they were not made for each other."""
    params = gemma_params(gemma)
    projection.require(Component.TEXT_PROJECTION)
    if None not in (gemma.generation, projection.generation):
        common_generation(gemma, projection)
    _check_family(gemma, projection)
    states = params.layers + 1
    tensors = projection.tensors(Component.TEXT_PROJECTION)
    single = "aggregate_embed.weight" in tensors
    width = tensors["aggregate_embed.weight" if single else "video_aggregate_embed.weight"].shape[-1]
    if width != params.hidden_size * states:
        what = params.name or "the text encoder"
        raise CheckpointError(
            f"The text projection in {projection.path} takes {width:,} values a token, but {what} in {gemma.path} "
            f"gives {params.hidden_size * states:,} ({states} states of {params.hidden_size:,}). Choose the text "
            "encoder that the checkpoint was made with: Gemma 12B (188,160) for the official files."
        )
    return TextEncoder(params, projection_params(projection, params.hidden_size, states), **options)


def _check_family(gemma: Checkpoint, projection: Checkpoint) -> None:
    """The same sizes are no sign: Gemma-4 12B is as wide and deep as Gemma-3 12B."""
    wanted = variant_of(Kind.DEV, projection.generation)
    found = 4 if is_gemma_4(gemma.tensors(Component.GEMMA)) else 3
    if projection.generation is not None and found != wanted.gemma:
        raise VariantError(
            f"{gemma.path} is Gemma-{found}, but the text projection in {projection.path} is of "
            f"{projection.generation_name}, which reads prompts with Gemma-{wanted.gemma}. Choose "
            f"{wanted.files.text_encoder} as text encoder, or the text projection of the model that this one is for."
        )


def projection_params(projection: Checkpoint, hidden_size: int, states: int) -> ExtractorParams:
    """Sizes of the text projection for a Gemma of that width and that many states.

    Names and shapes tell all of them; where the file has the model's config too, the two must not contradict each
    other.
    """
    if "transformer" in projection.own_config:
        return extractor_params(projection.config, hidden_size, states)
    tensors = projection.tensors(Component.TEXT_PROJECTION)
    if "aggregate_embed.weight" in tensors:
        return FeatureExtractorV20Params(hidden_size, states)
    names = [f"{modality}_aggregate_embed.bias" for modality in ("video", "audio")]
    if absent := [name for name in names if name not in tensors or len(tensors[name].shape) != 1]:
        raise CheckpointError(
            f"The text projection in {projection.path} has no {absent[0]}, which tells how wide text is for the model; "
            "expected video_aggregate_embed and audio_aggregate_embed, each with weight and bias, as LTX-2.3 has them."
        )
    return FeatureExtractorParams(hidden_size, states, *(tensors[name].shape[0] for name in names))


def load_text_encoder(
    gemma: Checkpoint,
    projection: Checkpoint,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> TextEncoder:
    """Gemma from one file or folder with the text projection from another file, ready to compute in `dtype`."""
    module = text_encoder_module(gemma, projection, device="meta")
    parts = ((module.gemma, gemma, Component.GEMMA), (module.feature_extractor, projection, Component.TEXT_PROJECTION))
    for part, checkpoint, component in parts:
        _loaded(part, checkpoint, component, dtype, device)
    return module.eval()


@lru_cache(maxsize=1)
def load_tokenizer(gemma: Checkpoint) -> GemmaTokenizer:
    """The tokenizer beside the weights in a folder, or inside a single file; beside a GGUF file that has none.

    The last one is kept.
    """
    check_tokenizer(gemma)
    [file, *_] = gemma.files
    if isinstance(file, GgufFile):
        inside = file.has_vocabulary()
        return gemma_tokenizer(file) if inside else GemmaTokenizer.from_folder(gemma.path.parent)
    if gemma.path.is_dir():
        return GemmaTokenizer.from_folder(gemma.path)
    return GemmaTokenizer.from_tensors(gemma.state_dict(Component.TOKENIZER))


def check_tokenizer(gemma: Checkpoint) -> None:
    """CheckpointError if `load_tokenizer` would find none, as far as that can be told at once."""
    [file, *_] = gemma.files
    if isinstance(file, GgufFile):
        _check_gguf_tokenizer(gemma, file)
    elif gemma.path.is_dir():
        tokenizer_file(gemma.path)
    else:
        gemma.require(Component.TOKENIZER)


def _check_gguf_tokenizer(gemma: Checkpoint, file: GgufFile) -> None:
    if file.has_vocabulary():
        words, rows = len(check_vocabulary(file).tokens), gemma_params(gemma).vocab_size
        if words > rows:
            raise CheckpointError(
                f"{gemma.path} has a vocabulary of {words:,} tokens, but only {rows:,} embeddings; expected one for "
                "each. Use a GGUF of Gemma-3 as llama.cpp writes it."
            )
        return
    try:
        tokenizer_file(gemma.path.parent)
    except CheckpointError as error:
        if is_gemma_4(gemma.tensors(Component.GEMMA)):
            raise CheckpointError(
                f"{gemma.path} is Gemma-4, whose vocabulary is not read from GGUF files, and the tokenizer cannot be "
                f"taken from beside it: {error} Or use LTX-2.5's text encoder as a .safetensors file, which has both."
            ) from None
        raise CheckpointError(
            f"{gemma.path} has no vocabulary of Gemma-3 in its metadata, and the tokenizer cannot be taken from beside "
            f"it: {error} Or use a GGUF as llama.cpp writes it."
        ) from None


def _loaded(
    module: nn.Module, checkpoint: Checkpoint, component: Component, dtype: torch.dtype, device: torch.device | str
) -> nn.Module:
    checkpoint.check_finite(component)
    weights = _plain_weights(checkpoint, component, module, dtype)
    return _filled(module, weights, checkpoint, component, dtype, device)


def _plain_weights(
    checkpoint: Checkpoint, component: Component, module: nn.Module, dtype: torch.dtype
) -> dict[str, Tensor]:
    shapes = plain_shapes(checkpoint, component, _shapes(module))
    state = expanded(checkpoint, component, marked_state(checkpoint, component), dtype)
    return dequantize(state, dtype, source=checkpoint.path, shapes=shapes)


def _shapes_in(checkpoint: Checkpoint, component: Component) -> dict[str, tuple[int, ...]]:
    return {name: info.shape for name, info in checkpoint.tensors(component).items()}


def _shapes(module: nn.Module | None) -> dict[str, tuple[int, ...]]:
    return {} if module is None else {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _filled(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    checkpoint: Checkpoint,
    component: Component,
    dtype: torch.dtype,
    device: torch.device | str,
) -> nn.Module:
    # torch.nn's layers do not cast, so that all weights take the dtype that is computed in.
    dtype = torch.float32 if component is Component.VOCODER else dtype
    load_module(module, weights, source=checkpoint.path, component=component, dtype=dtype)
    return module.to(device).eval().requires_grad_(False)
