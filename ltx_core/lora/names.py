"""Whose layers a LoRA's names are: the official module names for all the ways in which trainers spell them.

LTX-2's modules are few, so that names with all dots made underscores (kohya's) can be read without a model at hand.
"""

import re
from enum import Enum

CONNECTORS = ("video_embeddings_connector.", "audio_embeddings_connector.")

# What stands before a module's name, in any order and more than once: exports of exports.
_PREFIXES = ("base_model.model.", "model.", "diffusion_model.", "transformer.", "velocity_model.", "connectors.")
_FLAT_PREFIX = re.compile(r"lora_(?:unet|transformer|connectors)_+|lycoris_")
_FLAT_WRAPPER = re.compile(r"(?:base_model_model|model|diffusion_model|transformer(?!_blocks_)|connectors)_")

# diffusers' names of LTX-2's modules.
_DIFFUSERS = {
    "proj_in": "patchify_proj",
    "audio_proj_in": "audio_patchify_proj",
    "time_embed": "adaln_single",
    "audio_time_embed": "audio_adaln_single",
    "prompt_adaln": "prompt_adaln_single",
    "audio_prompt_adaln": "audio_prompt_adaln_single",
    "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
    "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
    "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
    "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
    "video_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_video",
    "audio_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_audio",
    "norm_q": "q_norm",
    "norm_k": "k_norm",
}
_CONNECTOR = re.compile(r"(video|audio)_(?:embeddings_)?connector\.transformer_(?:1d_)?blocks\.(.+)")
_FLAT_CONNECTOR = re.compile(r"(video|audio)_(?:embeddings_)?connector_transformer_(?:1d_)?blocks_(\d+)_(.+)")
_FLAT_BLOCK = re.compile(r"transformer_blocks_(\d+)_(.+)")

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "to_gate_logits", "q_norm", "k_norm")
_FEED_FORWARD = ("net.0.proj", "net.2")
_CROSS = ("audio_to_video_attn", "video_to_audio_attn")
_TABLES = ("scale_shift_table", "audio_scale_shift_table")
_IN_CONNECTOR = (*(f"attn1.{name}" for name in _ATTENTION), *(f"ff.{name}" for name in _FEED_FORWARD))
_IN_BLOCK = (
    *(f"{a}.{name}" for a in ("attn1", "attn2", "audio_attn1", "audio_attn2", *_CROSS) for name in _ATTENTION),
    *(f"{ff}.{name}" for ff in ("ff", "audio_ff") for name in _FEED_FORWARD),
    *_TABLES,
    "prompt_scale_shift_table",
    "audio_prompt_scale_shift_table",
    "scale_shift_table_a2v_ca_video",
    "scale_shift_table_a2v_ca_audio",
)
_ADALN = (
    "adaln_single", "audio_adaln_single", "prompt_adaln_single", "audio_prompt_adaln_single",
    "av_ca_video_scale_shift_adaln_single", "av_ca_audio_scale_shift_adaln_single", "av_ca_a2v_gate_adaln_single",
    "av_ca_v2a_gate_adaln_single",
)  # fmt: skip
_OUTSIDE = (
    "patchify_proj", "audio_patchify_proj", "proj_out", "audio_proj_out", *_TABLES,
    *(f"{a}.{name}" for a in _ADALN for name in ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2")),
    *(f"{a}.linear" for a in _ADALN),
    *(f"{side}caption_projection.{name}" for side in ("", "audio_") for name in ("linear_1", "linear_2")),
)  # fmt: skip

_PROJECTION = re.compile(
    r"(?:.*[._])?(?:(?:video_|audio_)?aggregate_embed|(?:video_|audio_)?text_proj_in|text_embedding_projection.*)"
)
_TEXT_ENCODER = re.compile(
    r"lora_(?:prior_)?te\d*_.*|(?:.*[._])?(?:text_encoders?(?:_\d)?|text_model|language_model|gemma\w*|t5xxl|clip_[glh])[._].*"
    r"|(?:.*[._])?layers[._]\d+[._](?:self_attn|mlp)[._].*"
)
_VAE = re.compile(
    r"(?:lora_|lycoris_|(?:base_model\.)?model\.|diffusion_model\.)?(?:(?:audio_)?vae[._].*"
    r"|(?:encoder|decoder)[._](?:conv_in|conv_out|mid|down|up)(?:_blocks?)?(?:[._].*)?)"
)
# By the first that fits.
_OTHERS = (
    ("Wan", re.compile(r"(?:.*[._])?(?<!transformer_)blocks[._]\d+[._](?:self_attn|cross_attn|ffn)[._].*")),
    ("Flux", re.compile(r"(?:.*[._])?single_transformer_blocks[._].*")),
    ("Flux or HunyuanVideo", re.compile(r"(?:.*[._])?(?:double|single)_blocks[._]\d+[._].*")),
    ("Qwen-Image", re.compile(r".*transformer_blocks[._]\d+[._](?:(?:img|txt)_(?:mlp|mod)|attn[._]).*")),
    ("Z-Image", re.compile(r"(?:.*[._])?layers[._]\d+[._](?:attention|feed_forward|adaLN_modulation)[._].*")),
    ("Stable Diffusion", re.compile(r"(?:.*[._])?(?:down|up|input|output)_blocks[._]\d+[._].*|.*mid_block[._].*")),
)


def module_name(layer: str) -> str:
    """The official name of a layer that a file calls `layer`; one that is not LTX-2's, without what stands before it.

    "transformer_blocks.0.attn1.to_q", or below one of CONNECTORS.
    """
    if flat := _FLAT_PREFIX.match(layer):
        name = layer[flat.end() :]
        while wrapper := _FLAT_WRAPPER.match(name):
            name = name[wrapper.end() :]
        return _of_flat(name) or layer
    name = layer
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    if "." not in name and (official := _of_flat(name)):
        return official
    name = ".".join(_DIFFUSERS.get(part, part) for part in name.removesuffix(".weight").split("."))
    if connector := _CONNECTOR.fullmatch(name):
        return f"{connector[1]}_embeddings_connector.transformer_1d_blocks.{connector[2]}"
    return name


def _table(names: tuple[str, ...]) -> dict[str, str]:
    """Official names by the same with underscores only, as official names and as diffusers' give them."""
    theirs = {official: name for name, official in _DIFFUSERS.items()}
    flat = {".".join(theirs.get(part, part) for part in name.split(".")).replace(".", "_"): name for name in names}
    return flat | {name.replace(".", "_"): name for name in names}


_FLAT_IN_BLOCK, _FLAT_IN_CONNECTOR, _FLAT_OUTSIDE = _table(_IN_BLOCK), _table(_IN_CONNECTOR), _table(_OUTSIDE)


def _of_flat(name: str) -> str | None:
    if (block := _FLAT_BLOCK.fullmatch(name)) and block[2] in _FLAT_IN_BLOCK:
        return f"transformer_blocks.{block[1]}.{_FLAT_IN_BLOCK[block[2]]}"
    if (connector := _FLAT_CONNECTOR.fullmatch(name)) and connector[3] in _FLAT_IN_CONNECTOR:
        side, number, rest = connector.groups()
        return f"{side}_embeddings_connector.transformer_1d_blocks.{number}.{_FLAT_IN_CONNECTOR[rest]}"
    return _FLAT_OUTSIDE.get(name)


_KNOWN = re.compile(
    rf"transformer_blocks\.\d+\.(?:{'|'.join(map(re.escape, _IN_BLOCK))})"
    rf"|(?:video|audio)_embeddings_connector\.transformer_1d_blocks\.\d+\.(?:{'|'.join(map(re.escape, _IN_CONNECTOR))})"
    rf"|{'|'.join(map(re.escape, _OUTSIDE))}"
)


def is_known(name: str) -> bool:
    """Whether a `module_name` is of LTX-2's transformer or connectors, of any generation and size."""
    return _KNOWN.fullmatch(name) is not None


def is_projection(layer: str) -> bool:
    """Whether a layer, as a file calls it, is of the text projection, which follows the text encoder."""
    return _PROJECTION.fullmatch(layer) is not None


def is_text_encoder(layer: str) -> bool:
    """Whether a layer, as a file calls it, is of a text encoder."""
    return _TEXT_ENCODER.fullmatch(layer) is not None


def is_vae(layer: str) -> bool:
    """Whether a layer, as a file calls it, is of a VAE."""
    return _VAE.fullmatch(layer) is not None


def other_model(layer: str) -> str | None:
    """The model that has layers of such a name, where it is a known one and not LTX-2."""
    return next((model for model, pattern in _OTHERS if pattern.fullmatch(layer)), None)


class Stream(Enum):
    """What a layer writes to."""

    VIDEO = "picture"
    AUDIO = "sound"


def stream(name: str) -> Stream:
    """What the layer of this official name writes to: of the cross layers, to which stream their result is added."""
    root = name.split(".")[2] if name.startswith("transformer_blocks.") and name.count(".") > 1 else name.split(".")[0]
    if root in ("video_to_audio_attn", "av_ca_v2a_gate_adaln_single", "av_ca_audio_scale_shift_adaln_single"):
        return Stream.AUDIO
    if root in ("audio_to_video_attn", "scale_shift_table_a2v_ca_video"):
        return Stream.VIDEO
    return Stream.AUDIO if root.startswith("audio_") or root == "scale_shift_table_a2v_ca_audio" else Stream.VIDEO


def is_cross(name: str) -> bool:
    """Whether the layer of this official name belongs to the attention between picture and sound."""
    return "audio_to_video_attn" in name or "video_to_audio_attn" in name or "av_ca_" in name or "a2v_ca" in name
