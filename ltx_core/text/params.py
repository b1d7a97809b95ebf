"""Sizes of the text projection and of the embeddings connectors, read from a checkpoint's `config`.

Gemma's own sizes do not stand there: see `gemma_params.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..config_section import Section

# What the vendor's `_create_feature_extractor` takes as the mark of the per-token-RMS projection (2.3 and later).
_PER_TOKEN_RMS_MARKS = {
    "caption_proj_before_connector": True,
    "caption_projection_first_linear": False,
    "caption_proj_input_norm": False,
    "caption_projection_second_linear": False,
}


@dataclass(frozen=True)
class FeatureExtractorParams:
    """The 2.3 projection: `states` hidden states of width `hidden_size` -> one vector per token and modality."""

    hidden_size: int
    states: int
    video_width: int
    audio_width: int

    @classmethod
    def from_config(cls, config: dict, hidden_size: int, states: int) -> "FeatureExtractorParams":
        """`hidden_size` and `states` (layers + 1) are Gemma's; raises CheckpointError if the config is not 2.3's."""
        transformer = _transformer(config)
        for key, expected in _PER_TOKEN_RMS_MARKS.items():
            if transformer.values.get(key) != expected:
                raise transformer.refusal(
                    key, f"{expected!r} as in LTX-2.3's text projection", "Use an LTX-2.3 checkpoint."
                )
        return cls(
            hidden_size=hidden_size,
            states=states,
            video_width=transformer.whole("num_attention_heads") * transformer.whole("attention_head_dim"),
            audio_width=transformer.whole("audio_num_attention_heads") * transformer.whole("audio_attention_head_dim"),
        )


@dataclass(frozen=True)
class FeatureExtractorV20Params:
    """The 2.0 projection: `states` hidden states of width `hidden_size` -> one vector of that width per token."""

    hidden_size: int
    states: int


def extractor_params(config: dict, hidden_size: int, states: int) -> FeatureExtractorParams | FeatureExtractorV20Params:
    """The projection that a config describes: LTX-2.0's where it has none of the marks of the later one, as the vendor
    tells them apart.  Arguments and errors as `FeatureExtractorParams.from_config`."""
    if not _PER_TOKEN_RMS_MARKS.keys() & _transformer(config).values.keys():
        return FeatureExtractorV20Params(hidden_size, states)
    return FeatureExtractorParams.from_config(config, hidden_size, states)


@dataclass(frozen=True)
class ConnectorParams:
    """One embeddings connector: a small bidirectional transformer over text tokens and learnable registers.

    The context has `context_length` tokens, or as many multiples of `registers` as a longer text needs.
    """

    heads: int
    head_dim: int
    layers: int
    gated: bool
    max_position: float
    frequencies_float64: bool = True
    registers: int = 128
    context_length: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    feed_forward_bias: bool = True

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @classmethod
    def from_config(cls, config: dict, modality: str) -> "ConnectorParams":
        """The connector of `modality` "video" or "audio"; raises CheckpointError on values that are not supported.

        Keys that a file lacks take the vendor's defaults, which are those of LTX-2.0: two layers, 30 heads of 128, no
        gate, audio like video.
        """
        if modality not in ("video", "audio"):
            raise ValueError(f'modality must be "video" or "audio", got {modality!r}')
        transformer = _transformer(config)
        transformer.fixed(
            {"rope_type": "split"},
            "These text connectors are not supported: use an official LTX-2 checkpoint.",
        )

        def size(read: Callable[[str, int], int], name: str, default: int) -> int:
            common = read(f"connector_{name}", default)
            return read(f"audio_connector_{name}", common) if modality == "audio" else common

        return cls(
            heads=size(transformer.whole, "num_attention_heads", 30),
            head_dim=size(transformer.whole, "attention_head_dim", 128),
            layers=size(partial(transformer.layers, at_least=0), "num_layers", 2),
            gated=transformer.boolean("connector_apply_gated_attention", False),
            max_position=transformer.numbers("connector_positional_embedding_max_pos", (1,))[0],
            frequencies_float64=transformer.values.get("frequencies_precision") == "float64",
            feed_forward_bias=transformer.boolean("connector_ff_bias", True),
        )


def _transformer(config: dict) -> Section:
    return Section.required(config, "transformer", "the sizes of the text path")
