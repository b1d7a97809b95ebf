"""Which tensors of a file belong to which component, and what the engine's modules call them.

Knows the official single file, its parts saved on their own with or without prefixes, both layouts of Gemma, upsamplers
and LoRAs.  Only names and shapes are looked at.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from .diffusion_keys import ANCHOR, PREVIEW, decoder_name
from .lora_keys import is_lora
from .safetensors_file import TensorInfo
from .text.keys import gemma_key_map

KeyMap = dict[str, str]  # name in the file -> name in the module


class Component(Enum):
    """A part of the model that is loaded on its own; the value is what messages call it."""

    TRANSFORMER = "transformer"
    VIDEO_CONNECTOR = "video text connector"
    AUDIO_CONNECTOR = "audio text connector"
    TEXT_PROJECTION = "text projection"
    VIDEO_ENCODER = "video VAE encoder"
    VIDEO_DECODER = "video VAE decoder"
    DIFFUSION_DECODER = "diffusion video decoder"
    AUDIO_ENCODER = "audio VAE encoder"
    AUDIO_DECODER = "audio VAE decoder"
    VOCODER = "vocoder"
    GEMMA = "Gemma text encoder"
    TOKENIZER = "tokenizer"
    DURATION_HEAD = "duration head"
    UPSAMPLER = "latent upsampler"
    LORA = "LoRA"


# Longest first: each name takes the first that fits.
TRANSFORMER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "")
CONNECTOR_PREFIXES = (*TRANSFORMER_PREFIXES[:-1], "text_encoders.", "")
# "autoencoder." is ComfyUI's name of the audio VAE, "first_stage_model." of any VAE inside of a checkpoint.
VAE_PREFIXES = ("vae.", "audio_vae.", "autoencoder.", "first_stage_model.", "first_stage_model.autoencoder.", "")
PROJECTION_PREFIXES = ("text_embedding_projection.", "text_encoders.text_embedding_projection.")
VOCODER_PREFIXES = ("vocoder.", "audio_vae.vocoder.", "first_stage_model.vocoder.")
_DURATION_HEAD = "duration_head."
STATISTICS = "per_channel_statistics."
STATISTICS_NAMES = (STATISTICS + "mean-of-means", STATISTICS + "std-of-means")
STATISTICS_ALIASES = ("latents_mean", "latents_std")

_TRANSFORMER_ROOTS = (
    "transformer_blocks.", "patchify_proj.", "audio_patchify_proj.", "proj_out.", "audio_proj_out.",
    "scale_shift_table", "audio_scale_shift_table", "adaln_single.", "audio_adaln_single.", "prompt_adaln_single.",
    "audio_prompt_adaln_single.", "av_ca_", "caption_projection.", "audio_caption_projection.",
    "keyframes_abs_pos_embedding",
)  # fmt: skip
_PROJECTIONS = ("video_aggregate_embed.", "audio_aggregate_embed.", "aggregate_embed.")
_UPSAMPLER_ROOTS = (
    "initial_conv.", "initial_norm.", "res_blocks.", "upsampler.", "post_upsample_res_blocks.", "final_conv.",
)  # fmt: skip
# Written by ComfyUI beside scaled fp8 weights, once for all of them.
_QUANTIZATION_MARK = "scaled_fp8"


def component_keys(tensors: Mapping[str, TensorInfo]) -> dict[Component, KeyMap]:
    """The components among `tensors`, each with its key map; latent statistics belong to encoder and decoder alike."""
    if any(map(is_lora, tensors)):
        return {Component.LORA: {name: name for name in tensors}}
    maps: dict[Component, KeyMap] = {}
    maps.update(_diffusion_model(tensors))
    maps[Component.TEXT_PROJECTION] = _text_projection(tensors)
    maps.update(_vaes(tensors))
    maps[Component.VOCODER] = _vocoder(tensors)
    maps.update(_text_encoder(tensors))
    maps[Component.DURATION_HEAD] = _strip(tensors, _DURATION_HEAD)
    maps[Component.UPSAMPLER] = _upsampler(tensors)
    return {component: keys for component, keys in maps.items() if keys}


def unrecognised(tensors: Iterable[str], maps: Mapping[Component, KeyMap]) -> tuple[str, ...]:
    """Names that no component takes, without those that are known to be left over in official files."""
    known = {name for keys in maps.values() for name in keys}
    return tuple(
        name
        for name in tensors
        if name not in known
        and STATISTICS not in name
        and not name.endswith(_QUANTIZATION_MARK)
        and not (Component.GEMMA in maps and _beside_gemma(name))
        and not (Component.DIFFUSION_DECODER in maps and f"decoder.{PREVIEW}" in name)
    )


def _strip(tensors: Iterable[str], prefix: str, keep: Callable[[str], bool] = bool) -> KeyMap:
    """The names below `prefix` without it, where `keep` of what is left says so."""
    return {name: name[len(prefix) :] for name in tensors if name.startswith(prefix) and keep(name[len(prefix) :])}


def _diffusion_model(tensors: Mapping[str, TensorInfo]) -> dict[Component, KeyMap]:
    maps: dict[Component, KeyMap] = {}
    for component, part in (
        (Component.VIDEO_CONNECTOR, "video_embeddings_connector."),
        (Component.AUDIO_CONNECTOR, "audio_embeddings_connector."),
    ):
        prefix = next((p for p in CONNECTOR_PREFIXES if any(n.startswith(p + part) for n in tensors)), "")
        maps[component] = _strip(tensors, prefix + part)
    prefix = next((p for p in TRANSFORMER_PREFIXES if f"{p}transformer_blocks.0.attn1.to_q.weight" in tensors), None)
    if prefix is not None:
        # Below a prefix everything is the transformer's; without one, only what it is known to have.
        connectors = ("video_embeddings_connector.", "audio_embeddings_connector.")
        roots = (*_TRANSFORMER_ROOTS, _QUANTIZATION_MARK)
        maps[Component.TRANSFORMER] = _strip(
            tensors, prefix, lambda name: not name.startswith(connectors) and (bool(prefix) or name.startswith(roots))
        )
    return maps


def _text_projection(tensors: Mapping[str, TensorInfo]) -> KeyMap:
    below_prefix = next(filter(None, (_strip(tensors, prefix) for prefix in PROJECTION_PREFIXES)), {})
    return below_prefix or _strip(tensors, "", lambda name: name.startswith(_PROJECTIONS))


def _vaes(tensors: Mapping[str, TensorInfo]) -> dict[Component, KeyMap]:
    maps: dict[Component, KeyMap] = {}
    for prefix in VAE_PREFIXES:
        for side in ("encoder", "decoder"):
            first = tensors.get(f"{prefix}{side}.conv_in.conv.weight")
            dimensions = None if first is None else len(first.shape)
            # A video VAE convolves over three axes, the audio VAE over two.
            component = {
                ("encoder", 5): Component.VIDEO_ENCODER,
                ("decoder", 5): Component.VIDEO_DECODER,
                ("encoder", 4): Component.AUDIO_ENCODER,
                ("decoder", 4): Component.AUDIO_DECODER,
            }.get((side, dimensions))
            if component is not None and not maps.get(component):
                maps[component] = _strip(tensors, f"{prefix}{side}.") | _statistics(tensors, prefix)
        if f"{prefix}decoder.{ANCHOR}" in tensors:
            own = _strip(tensors, f"{prefix}decoder.", lambda name: not name.startswith(PREVIEW))
            named = {key: decoder_name(name) for key, name in own.items()}
            maps.setdefault(Component.DIFFUSION_DECODER, named | _statistics(tensors, prefix))
    return maps


def _statistics(tensors: Mapping[str, TensorInfo], prefix: str) -> KeyMap:
    known = (*STATISTICS_NAMES, *STATISTICS_ALIASES)
    return {prefix + name: name for name in known if prefix + name in tensors}


def _vocoder(tensors: Mapping[str, TensorInfo]) -> KeyMap:
    # A file that holds nothing else may come without the prefix, of which the nested networks keep one of their own.
    if any(name.startswith("bwe_generator.") for name in tensors):
        return _strip(tensors, "", lambda name: name.startswith(("vocoder.", "bwe_generator.", "mel_stft.")))
    return next(filter(None, (_strip(tensors, prefix) for prefix in VOCODER_PREFIXES)), {})


def _text_encoder(tensors: Mapping[str, TensorInfo]) -> dict[Component, KeyMap]:
    keys = gemma_key_map(tensors)
    # Only Gemma has this one; other language models share the rest of the names.
    if "layers.0.pre_feedforward_layernorm.weight" not in keys.values():
        keys = {}
    tokenizer = {name: name for name in ("tokenizer_json", "spiece_model") if name in tensors}
    return {Component.GEMMA: keys, Component.TOKENIZER: tokenizer}


_BESIDE_GEMMA = (
    "vision_tower.", "vision_model.", "multi_modal_projector.", "lm_head.",
    # Gemma-4's: how images and sound enter, under Hugging Face's and ComfyUI's names, and files kept as bytes.
    "vision_embedder.", "embed_vision.", "embed_audio.", "audio_projector.", "hf_asset__",
    "rope_freqs.",  # in GGUF files: its frequencies, which follow from its sizes
)  # fmt: skip


def _beside_gemma(name: str) -> bool:
    return any(part in name for part in _BESIDE_GEMMA)


def _upsampler(tensors: Mapping[str, TensorInfo]) -> KeyMap:
    if "initial_conv.weight" not in tensors or "post_upsample_res_blocks.0.conv1.weight" not in tensors:
        return {}
    return _strip(tensors, "", lambda name: name.startswith(_UPSAMPLER_ROOTS))
