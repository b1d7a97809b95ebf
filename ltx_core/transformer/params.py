"""The transformer's sizes, read from a checkpoint's `config` metadata."""

from dataclasses import dataclass
from typing import Literal

from ..config_section import Section

_FIXED = {
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
}
_OFFICIAL = "Use an official checkpoint of LTX-2."


@dataclass(frozen=True)
class StreamParams:
    """Sizes of one modality's stream through the transformer; LTX-2.5's video has no biases in its feed-forward."""

    heads: int
    head_dim: int
    in_channels: int
    out_channels: int
    context_dim: int
    max_positions: tuple[float, ...]
    feed_forward_bias: bool = True

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


@dataclass(frozen=True)
class TransformerParams:
    """Sizes of the audio-video transformer.

    caption_channels is None when the text projection lies before the connectors (LTX-2.3); a width means that the
    transformer projects text itself (LTX-2.0).  cross_timestep says which timestep modulates audio-video attention:
    "own" is the modality's own, per token (the vendor since 1.1), "other" the other modality's sigma (vendor 1.0).
    prompt_timestep: whether the noise level modulates the text context too; without, each block's own table does alone.
    keyframe_embedding: whether tokens of a single pixel frame carry a learned mark (LTX-2.5).
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
    prompt_timestep: bool = True
    keyframe_embedding: bool = False

    @property
    def text_widths(self) -> dict[str, int]:
        """How wide the text is that the transformer takes from the connectors, by modality."""
        own = {"video": self.video.context_dim, "audio": self.audio.context_dim}
        return dict.fromkeys(own, self.caption_channels) if self.shares_text else own

    @property
    def shares_text(self) -> bool:
        """Whether the connectors of both modalities get the same text, of which the transformer projects its own."""
        return self.caption_channels is not None

    @classmethod
    def from_config(cls, config: dict) -> "TransformerParams":
        """Reads the `transformer` section of a checkpoint's config; CheckpointError on what the engine cannot run."""
        section = Section.required(config, "transformer", "the sizes of the transformer")
        section.fixed(_FIXED, _OFFICIAL)
        if section.values.get("rope_type") != "split":  # missing, it means "interleaved" to the vendor
            raise section.refusal("rope_type", "'split'", _OFFICIAL)
        video = StreamParams(
            heads=section.whole("num_attention_heads", 32),
            head_dim=section.whole("attention_head_dim", 128),
            in_channels=section.whole("in_channels", 128),
            out_channels=section.whole("out_channels", 128),
            context_dim=section.whole("cross_attention_dim", 4096),
            max_positions=section.numbers("positional_embedding_max_pos", (20, 2048, 2048)),
            feed_forward_bias=section.boolean("ff_bias", True),
        )
        audio = StreamParams(
            heads=section.whole("audio_num_attention_heads", 32),
            head_dim=section.whole("audio_attention_head_dim", 64),
            in_channels=section.whole("audio_in_channels", 128),
            out_channels=section.whole("audio_out_channels", 128),
            context_dim=section.whole("audio_cross_attention_dim", 2048),
            max_positions=section.numbers("audio_positional_embedding_max_pos", (20,)),
            feed_forward_bias=section.boolean("audio_ff_bias", True),
        )
        projected = section.boolean("caption_proj_before_connector", False)
        return cls(
            num_layers=section.layers("num_layers", 48),
            video=video,
            audio=audio,
            norm_eps=section.number("norm_eps", 1e-6),
            theta=section.number("positional_embedding_theta", 10000.0),
            frequencies_float64=section.values.get("frequencies_precision") == "float64",
            timestep_scale=section.number("timestep_scale_multiplier", 1000),
            cross_gate_timestep_scale=section.number("av_ca_timestep_scale_multiplier", 1),
            gated=section.boolean("apply_gated_attention", False),
            text_adaln=section.boolean("cross_attention_adaln", False),
            caption_channels=None if projected else section.whole("caption_channels"),
            prompt_timestep=section.boolean("use_prompt_adaln_single", True),
            keyframe_embedding=section.boolean("use_keyframes_abs_pos_embedding", False),
        )
