"""The transformer's sizes, read from a checkpoint's `config` metadata."""

from dataclasses import dataclass
from typing import Literal

from ..errors import CheckpointError

_REQUIRED = {
    "dropout": 0.0,
    "attention_bias": True,
    "num_vector_embeds": None,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "cross_attention_norm": True,
    "double_self_attention": False,
    "upcast_attention": False,
    "standardization_norm": "rms_norm",
    "norm_elementwise_affine": False,
    "qk_norm": "rms_norm",
    "positional_embedding_type": "rope",
    "use_audio_video_cross_attention": True,
    "share_ff": False,
    "av_cross_ada_norm": True,
    "use_middle_indices_grid": True,
    "ff_bias": True,
    "audio_ff_bias": True,
    "use_keyframes_abs_pos_embedding": False,
}


@dataclass(frozen=True)
class StreamParams:
    """Sizes of one modality's stream through the transformer."""

    heads: int
    head_dim: int
    in_channels: int
    out_channels: int
    context_dim: int
    max_positions: tuple[float, ...]

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


@dataclass(frozen=True)
class TransformerParams:
    """Sizes of the audio-video transformer.

    caption_channels is None when the text projection lies before the connectors (LTX-2.3); a width means that the
    transformer projects text itself (LTX-2.0).  cross_timestep says which timestep modulates audio-video attention:
    "own" is the modality's own, per token (the vendor since 1.1), "other" the other modality's sigma (vendor 1.0).
    """

    num_layers: int
    video: StreamParams
    audio: StreamParams
    norm_eps: float
    theta: float
    frequencies_float64: bool
    timestep_scale: float
    cross_gate_timestep_scale: float
    gated: bool
    text_adaln: bool
    caption_channels: int | None
    cross_timestep: Literal["own", "other"] = "own"

    @classmethod
    def from_config(cls, config: dict) -> "TransformerParams":
        """Reads the `transformer` section of a checkpoint's config; CheckpointError on what the engine cannot run."""
        section = config.get("transformer")
        if not isinstance(section, dict):
            raise CheckpointError(
                "The checkpoint's config has no 'transformer' section, so the model's sizes are unknown. "
                "Use the official file or one converted with its metadata kept."
            )
        for key, expected in _REQUIRED.items():
            if section.get(key, expected) != expected:
                raise CheckpointError(
                    f"The checkpoint's config says transformer.{key} = {section[key]!r}; this engine runs models with "
                    f"{expected!r} (LTX-2.0 and LTX-2.3). Use a checkpoint of one of these."
                )
        rope_type = section.get("rope_type", "interleaved")
        if rope_type != "split":
            raise CheckpointError(
                f"The checkpoint's config says transformer.rope_type = {rope_type!r}; LTX-2.0 and LTX-2.3 use 'split'. "
                "Use an official LTX-2.x checkpoint."
            )
        video = StreamParams(
            heads=section.get("num_attention_heads", 32),
            head_dim=section.get("attention_head_dim", 128),
            in_channels=section.get("in_channels", 128),
            out_channels=section.get("out_channels", 128),
            context_dim=section.get("cross_attention_dim", 4096),
            max_positions=tuple(section.get("positional_embedding_max_pos", (20, 2048, 2048))),
        )
        audio = StreamParams(
            heads=section.get("audio_num_attention_heads", 32),
            head_dim=section.get("audio_attention_head_dim", 64),
            in_channels=section.get("audio_in_channels", 128),
            out_channels=section.get("audio_out_channels", 128),
            context_dim=section.get("audio_cross_attention_dim", 2048),
            max_positions=tuple(section.get("audio_positional_embedding_max_pos", (20,))),
        )
        projected = section.get("caption_proj_before_connector", False)
        return cls(
            num_layers=section.get("num_layers", 48),
            video=video,
            audio=audio,
            norm_eps=section.get("norm_eps", 1e-6),
            theta=section.get("positional_embedding_theta", 10000.0),
            frequencies_float64=section.get("frequencies_precision") == "float64",
            timestep_scale=section.get("timestep_scale_multiplier", 1000),
            cross_gate_timestep_scale=section.get("av_ca_timestep_scale_multiplier", 1),
            gated=section.get("apply_gated_attention", False),
            text_adaln=section.get("cross_attention_adaln", False),
            caption_channels=None if projected else section["caption_channels"],
        )
