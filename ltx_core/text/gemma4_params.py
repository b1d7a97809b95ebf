"""Sizes of the Gemma-4 language model that LTX-2.5 reads prompts with: Google's "unified" form, without encoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..config_section import AS_PUBLISHED, Section
from ..errors import CheckpointError
from .gemma_params import CONFIG_FILE, GemmaRope, count_layers, first_side, sliding_layers

# Config values that this implementation computes; other Gemma-4 models share keys between layers, mix experts, or feed
# every layer embeddings of its own.
_FIXED = {
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "num_kv_shared_layers": 0,
    "use_double_wide_mlp": False,
    "hidden_size_per_layer_input": 0,
    "enable_moe_block": False,
}
_OTHER_GEMMA = "LTX-2.5 was trained with a Gemma-4 12B of its own: use the text encoder that is published with it."
_TYPES = ("gemma4_unified", "gemma4_unified_text")
_LOCAL_ROPE = GemmaRope(10_000.0)
_GLOBAL_ROPE = GemmaRope(1_000_000.0, turned=0.25)


@dataclass(frozen=True)
class Gemma4Heads:
    """Attention of one kind of layer.  keys_are_values: there are no value weights, the raw keys serve as values."""

    head_dim: int
    kv_heads: int
    rope: GemmaRope
    keys_are_values: bool = False


@dataclass(frozen=True)
class Gemma4Params:
    """Everything the Gemma-4 language model is built from.

    `sliding` says for each layer whether it sees only the last `sliding_window` tokens (its own included) and has
    `local_heads`; the others see every earlier token and have `global_heads`.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    sliding: tuple[bool, ...]
    sliding_window: int
    local_heads: Gemma4Heads
    global_heads: Gemma4Heads
    norm_eps: float = 1e-6

    def __post_init__(self):
        for kind in (self.local_heads, self.global_heads):
            if not 0 < kind.kv_heads <= self.heads or self.heads % kind.kv_heads:
                raise CheckpointError(
                    f"Gemma-4's {self.heads} query heads are not a multiple of its {kind.kv_heads} key/value heads; "
                    f"expected several query heads to each of those. {AS_PUBLISHED}"
                )

    @property
    def layers(self) -> int:
        return len(self.sliding)

    @property
    def size(self) -> str | None:
        """What Google calls one of this width and depth; None for any other."""
        return "12B" if (self.hidden_size, self.layers) == (3840, 48) else None

    @property
    def name(self) -> str | None:
        """What messages call a known one, such as "Gemma-4 12B"."""
        return None if self.size is None else f"Gemma-4 {self.size}"

    @classmethod
    def from_hf_config(cls, config: Mapping[str, Any]) -> "Gemma4Params":
        """Reads a config of Gemma-4 unified, multi-modal (nested `text_config`) or text-only.

        It stands in `config.json`, or in the metadata `gemma_config` of a single file.  Missing keys take the defaults
        of transformers' `Gemma4UnifiedTextConfig`.  Raises CheckpointError for another model or unsupported values.
        """
        whole = Section(config, CONFIG_FILE).without_nulls()
        if whole.values.get("model_type") not in _TYPES:
            raise whole.refusal("model_type", " or ".join(map(repr, _TYPES)), _OTHER_GEMMA)
        text = whole.section("text_config").without_nulls() if "text_config" in whole.values else whole
        text.fixed(_FIXED, _OTHER_GEMMA)
        # "vision" concerns the tokens of images alone.
        text.choice("use_bidirectional_attention", ("vision",), "vision", _OTHER_GEMMA)
        sliding = _ending_global(sliding_layers(text, text.layers("num_hidden_layers", 30)))
        shared = text.boolean("attention_k_eq_v", False)
        local = {"head_dim": text.whole("head_dim", 256), "kv_heads": text.whole("num_key_value_heads", 4)}
        return cls(
            vocab_size=text.whole("vocab_size", 262144),
            hidden_size=text.whole("hidden_size", 2304),
            intermediate_size=text.whole("intermediate_size", 9216),
            heads=text.whole("num_attention_heads", 8),
            sliding=sliding,
            sliding_window=text.whole("sliding_window", 1024),
            local_heads=Gemma4Heads(**local, rope=_rope(text, "sliding_attention", _LOCAL_ROPE)),
            global_heads=Gemma4Heads(
                **_global_sizes(text, sliding, shared, **local),
                rope=_rope(text, "full_attention", _GLOBAL_ROPE),
                keys_are_values=shared,
            ),
            norm_eps=text.number("rms_norm_eps", 1e-6),
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Gemma4Params":
        """From tensor shapes by module name (see `gemma_key_map`), for single files that carry no config.

        Only first dimensions are used: the second is packed in 4-bit files.  What shapes do not tell is what the 12B
        model has.  Raises CheckpointError when a tensor or a layer is missing.
        """
        rows = partial(first_side, shapes, "Gemma-4")
        sliding = _ending_global(sliding_layers(Section({}, CONFIG_FILE), count_layers(shapes)))
        last = len(sliding) - 1

        def heads(layer: int, rope: GemmaRope) -> Gemma4Heads:
            name = f"layers.{layer}.self_attn."
            head_dim = rows(f"{name}q_norm.weight")
            shared = f"{name}v_proj.weight" not in shapes
            return Gemma4Heads(head_dim, rows(f"{name}k_proj.weight") // head_dim, rope, shared)

        global_heads = heads(last, _GLOBAL_ROPE)
        return cls(
            vocab_size=rows("embed_tokens.weight"),
            hidden_size=rows("norm.weight"),
            intermediate_size=rows("layers.0.mlp.gate_proj.weight"),
            heads=rows(f"layers.{last}.self_attn.q_proj.weight") // global_heads.head_dim,
            sliding=sliding,
            sliding_window=1024,
            local_heads=heads(0, _LOCAL_ROPE) if sliding[0] else global_heads,
            global_heads=global_heads,
        )


def _ending_global(sliding: tuple[bool, ...]) -> tuple[bool, ...]:
    """The last layer sees all tokens, whatever the pattern says: so transformers reads these configs."""
    return (*sliding[:-1], False)


def _global_sizes(
    text: Section, sliding: tuple[bool, ...], shared: bool, head_dim: int, kv_heads: int
) -> dict[str, int]:
    """Head width and key/value heads of global layers, from `per_layer_config` (newer transformers) or keys of their
    own; without value weights of their own, as in the E models, they have as many key/value heads as the others."""
    if "per_layer_config" not in text.values:
        other = text.whole("num_global_key_value_heads", kv_heads)
        return {"head_dim": text.whole("global_head_dim", 512), "kv_heads": other if shared else kv_heads}
    layers = text.section("per_layer_config")
    numbers = sorted(int(key) if key.isdecimal() and key.isascii() else -1 for key in layers.values)
    tables = list(layers.values.values())
    if numbers != [i for i, slides in enumerate(sliding) if not slides] or any(table != tables[0] for table in tables):
        raise text.refusal("per_layer_config", "one and the same table for each of the global layers", _OTHER_GEMMA)
    table = layers.section(next(iter(layers.values)))
    return {"head_dim": table.whole("head_dim", head_dim), "kv_heads": table.whole("num_key_value_heads", kv_heads)}


def _rope(text: Section, layers: str, default: GemmaRope) -> GemmaRope:
    settings = text.section("rope_parameters").without_nulls().section(layers).without_nulls()
    if not settings.values:
        return default
    kind = settings.choice("rope_type", ("default", "proportional"), "default", _OTHER_GEMMA)
    theta = float(settings.number("rope_theta", default.theta))
    if kind == "default":
        return GemmaRope(theta)
    turned = float(settings.number("partial_rotary_factor", 1.0))
    if turned > 1:
        raise settings.refusal("partial_rotary_factor", "a share from 0 to 1", _OTHER_GEMMA)
    return GemmaRope(theta, float(settings.number("factor", 1.0)), turned)
