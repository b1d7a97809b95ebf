"""Sizes of the text projection and of the embeddings connectors, read from a checkpoint's `config`.

Gemma's own sizes do not stand there: see `gemma_params.py`.
"""

from dataclasses import dataclass

from ..errors import CheckpointError

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
        other = {
            key: transformer.get(key) for key, value in _PER_TOKEN_RMS_MARKS.items() if transformer.get(key) != value
        }
        if other:
            found = ", ".join(f"{key}={value!r}" for key, value in other.items())
            raise CheckpointError(
                f"The checkpoint's config describes another text projection than LTX-2.3's: found {found}, expected "
                + ", ".join(f"{key}={_PER_TOKEN_RMS_MARKS[key]!r}" for key in other)
                + ". Use an LTX-2.3 checkpoint."
            )
        return cls(
            hidden_size=hidden_size,
            states=states,
            video_width=_width(transformer, "num_attention_heads", "attention_head_dim"),
            audio_width=_width(transformer, "audio_num_attention_heads", "audio_attention_head_dim"),
        )


@dataclass(frozen=True)
class FeatureExtractorV20Params:
    """The 2.0 projection: `states` hidden states of width `hidden_size` -> one vector of that width per token."""

    hidden_size: int
    states: int


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
        for key, expected in (("rope_type", "split"), ("connector_ff_bias", True)):
            if transformer.get(key, expected) != expected:
                raise CheckpointError(
                    f"The text connectors of this checkpoint are not supported: its config has {key} = "
                    f"{transformer[key]!r}, expected {expected!r}. Use an official LTX-2 checkpoint."
                )
        max_position = transformer.get("connector_positional_embedding_max_pos", [1])
        if len(max_position) != 1:
            raise CheckpointError(
                f"connector_positional_embedding_max_pos is {max_position!r} in the checkpoint's config, expected a "
                "list of one number. Use an official LTX-2 checkpoint."
            )

        def size(name: str, default: int) -> int:
            common = transformer.get(f"connector_{name}", default)
            return transformer.get(f"audio_connector_{name}", common) if modality == "audio" else common

        return cls(
            heads=size("num_attention_heads", 30),
            head_dim=size("attention_head_dim", 128),
            layers=size("num_layers", 2),
            gated=transformer.get("connector_apply_gated_attention", False),
            max_position=max_position[0],
            frequencies_float64=transformer.get("frequencies_precision") == "float64",
        )


def _transformer(config: dict) -> dict:
    section = config.get("transformer")
    if not isinstance(section, dict):
        raise CheckpointError(
            "The checkpoint's config has no 'transformer' section, so the sizes of the text path are unknown. Use the "
            "official file or one converted with its metadata kept."
        )
    return section


def _width(transformer: dict, heads: str, head_dim: str) -> int:
    missing = [key for key in (heads, head_dim) if key not in transformer]
    if missing:
        raise CheckpointError(
            f"The checkpoint's config lacks transformer.{' and transformer.'.join(missing)}, so the width of the text "
            "projection is unknown. Use the original file: converters sometimes drop the metadata."
        )
    return transformer[heads] * transformer[head_dim]
