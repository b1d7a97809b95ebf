"""Sizes of a Gemma-3 language model: from a Hugging Face config, or from the shapes of a file that has none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from ..config_section import AS_PUBLISHED, Section
from ..errors import CheckpointError

# Config values that this implementation computes; Gemma-3 models have no others.
_FIXED = {
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "use_bidirectional_attention": False,
    "hidden_activation": "gelu_pytorch_tanh",
}
# Width and layers of the Gemma-3 models.
_SIZES = {(640, 18): "270M", (1152, 26): "1B", (2560, 34): "4B", (3840, 48): "12B", (5376, 62): "27B"}
CONFIG_FILE = "The text encoder's config.json"
_OTHER_GEMMA = "LTX-2 was trained with Gemma-3 12B as Google released it: use that."


@dataclass(frozen=True)
class GemmaRope:
    """Rotary positions of one kind of layer: base frequency, and the factor that positions are divided by.

    turned: the share of a head's channels that turn at all; the rest, of the lowest frequencies, stay (Gemma-4).
    """

    theta: float
    factor: float = 1.0
    turned: float = 1.0


@dataclass(frozen=True)
class GemmaParams:
    """Everything the Gemma-3 language model is built from.

    `sliding` says for each layer whether it sees only the last `sliding_window` tokens (its own included) and uses
    `local_rope`; the others see every earlier token and use `global_rope`.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    sliding: tuple[bool, ...]
    sliding_window: int
    global_rope: GemmaRope
    local_rope: GemmaRope
    query_pre_attn_scalar: float = 256
    norm_eps: float = 1e-6

    def __post_init__(self):
        if not 0 < self.kv_heads <= self.heads or self.heads % self.kv_heads:
            raise CheckpointError(
                f"Gemma's {self.heads} query heads are not a multiple of its {self.kv_heads} key/value heads; "
                f"expected several query heads to each of those. {AS_PUBLISHED}"
            )

    @property
    def layers(self) -> int:
        return len(self.sliding)

    @property
    def size(self) -> str | None:
        """What Google calls a Gemma-3 of this width and depth, such as "12B"; None for any other."""
        return _SIZES.get((self.hidden_size, self.layers))

    @property
    def name(self) -> str | None:
        """What messages call a known one, such as "Gemma-3 12B"."""
        return None if self.size is None else f"Gemma-3 {self.size}"

    @classmethod
    def from_hf_config(cls, config: Mapping) -> "GemmaParams":
        """Reads a `config.json` of Gemma-3, multi-modal (nested `text_config`) or text-only, of any transformers.

        Missing keys take transformers' `Gemma3TextConfig` defaults, as published configs leave out values that equal
        them.  Raises CheckpointError when it is another model or has values that are not supported.
        """
        whole = Section(config, CONFIG_FILE).without_nulls()
        if whole.values.get("model_type") not in ("gemma3", "gemma3_text"):
            raise whole.refusal(
                "model_type",
                "'gemma3' or 'gemma3_text'",
                "LTX-2.3 takes Gemma-3 12B, such as google/gemma-3-12b-it-qat-q4_0-unquantized; Gemma-4 is LTX-2.5's.",
            )
        text = whole.section("text_config").without_nulls() if "text_config" in whole.values else whole
        text.fixed(_FIXED, _OTHER_GEMMA)
        global_rope, local_rope = _ropes(text)
        return cls(
            vocab_size=text.whole("vocab_size", 262208),
            hidden_size=text.whole("hidden_size", 2304),
            intermediate_size=text.whole("intermediate_size", 9216),
            heads=text.whole("num_attention_heads", 8),
            kv_heads=text.whole("num_key_value_heads", 4),
            head_dim=text.whole("head_dim", 256),
            sliding=sliding_layers(text, text.layers("num_hidden_layers", 26)),
            sliding_window=text.whole("sliding_window", 4096),
            global_rope=global_rope,
            local_rope=local_rope,
            query_pre_attn_scalar=text.number("query_pre_attn_scalar", 256),
            norm_eps=text.number("rms_norm_eps", 1e-6),
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "GemmaParams":
        """From tensor shapes by module name (see `gemma_key_map`), for single files that carry no config.

        Only the first dimension of matrices is used: the second is packed in 4-bit files.  What shapes do not tell is
        what Gemma-3 models of that size have in common.  Raises CheckpointError when a tensor or a layer is missing.
        """
        layers = count_layers(shapes)
        rows = partial(first_side, shapes, "Gemma-3")
        head_dim = rows("layers.0.self_attn.q_norm.weight")
        hidden_size = rows("norm.weight")
        # Gemma-3 270M and 1B were trained on short texts only: a shorter window, no scaled positions.
        short = (hidden_size, layers) in ((640, 18), (1152, 26))
        return cls(
            vocab_size=rows("embed_tokens.weight"),
            hidden_size=hidden_size,
            intermediate_size=rows("layers.0.mlp.gate_proj.weight"),
            heads=rows("layers.0.self_attn.q_proj.weight") // head_dim,
            kv_heads=rows("layers.0.self_attn.k_proj.weight") // head_dim,
            head_dim=head_dim,
            sliding=sliding_layers(Section({}, CONFIG_FILE), layers),
            sliding_window=512 if short else 1024,
            global_rope=GemmaRope(1_000_000.0, 1.0 if short else 8.0),
            local_rope=GemmaRope(10_000.0),
        )


def count_layers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many layers the tensors are of; CheckpointError unless these are numbered from 0 without a gap."""
    numbers = {int(found[1]) for name in shapes if (found := re.match(r"layers\.(\d+)\.", name))}
    layers = len(numbers)
    if not numbers or numbers != set(range(layers)):
        raise CheckpointError(
            f"The text encoder file holds {layers} Gemma layers"
            + (f", but the last is number {max(numbers)}" if numbers else "")
            + ": expected all of them, numbered from 0. Part of the model is missing: use the whole file."
        )
    return layers


def first_side(shapes: Mapping[str, tuple[int, ...]], model: str, name: str) -> int:
    """The first dimension of a tensor; CheckpointError if it is missing."""
    if not shapes.get(name) or not shapes[name][0]:
        raise CheckpointError(
            f"The text encoder file has no tensor {name!r} that tells a size of {model}. It is not a {model} "
            "language model, or part of it is missing."
        )
    return shapes[name][0]


def sliding_layers(text: Section, layers: int) -> tuple[bool, ...]:
    """`layer_types` where the config has them, else sliding layers with a global one at every so many."""
    if "layer_types" not in text.values:
        pattern = text.whole("sliding_window_pattern", text.whole("_sliding_window_pattern", 6))
        return tuple((layer + 1) % pattern != 0 for layer in range(layers))
    kinds = ("sliding_attention", "full_attention")
    types = text.values["layer_types"]
    if not isinstance(types, list) or len(types) != layers or any(kind not in kinds for kind in types):
        raise text.refusal("layer_types", f"{layers} times 'sliding_attention' or 'full_attention'")
    return tuple(kind == "sliding_attention" for kind in types)


def _ropes(text: Section) -> tuple[GemmaRope, GemmaRope]:
    """Global and local rotary settings, from `rope_parameters` (transformers 5) or the older separate keys."""
    by_layer = text.section("rope_parameters").without_nulls()
    older = text.section("rope_scaling")
    newer = by_layer.section("full_attention")
    settings = replace(older if older.values else newer, values={**newer.values, **older.values})
    return (
        _rope(settings.without_nulls(), text.number("rope_theta", 1_000_000.0)),
        _rope(by_layer.section("sliding_attention").without_nulls(), text.number("rope_local_base_freq", 10_000.0)),
    )


def _rope(settings: Section, theta: float) -> GemmaRope:
    key = "rope_type" if "rope_type" in settings.values else "type"
    kind = settings.choice(key, ("linear", "default"), "default", _OTHER_GEMMA)
    factor = float(settings.number("factor")) if kind == "linear" else 1.0
    return GemmaRope(float(settings.number("rope_theta", theta)), factor)
