"""Sizes of a Gemma-3 language model: from a Hugging Face config, or from the shapes of a file that has none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CheckpointError

# Config values that this implementation computes; Gemma-3 models have no others.
_FIXED = {
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "use_bidirectional_attention": False,
    "hidden_activation": "gelu_pytorch_tanh",
}


@dataclass(frozen=True)
class GemmaRope:
    """Rotary positions of one kind of layer: base frequency, and the factor that positions are divided by."""

    theta: float
    factor: float = 1.0


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
        if self.heads % self.kv_heads:
            raise CheckpointError(
                f"Gemma's {self.heads} query heads are not a multiple of its {self.kv_heads} key/value heads: the "
                "config or the file is damaged. Download the text encoder again."
            )

    @property
    def layers(self) -> int:
        return len(self.sliding)

    @classmethod
    def from_hf_config(cls, config: Mapping) -> "GemmaParams":
        """Reads a `config.json` of Gemma-3, multi-modal (nested `text_config`) or text-only, of any transformers.

        Missing keys take transformers' `Gemma3TextConfig` defaults, as published configs leave out values that equal
        them.  Raises CheckpointError when it is another model or has values that are not supported.
        """
        kind = config.get("model_type")
        text = config.get("text_config") or config
        if kind not in ("gemma3", "gemma3_text"):
            raise CheckpointError(
                f"The text encoder's config.json is of a {kind!r} model, expected 'gemma3' or 'gemma3_text'. LTX-2.3 "
                "needs Gemma-3 12B, such as google/gemma-3-12b-it-qat-q4_0-unquantized."
            )
        for key, expected in _FIXED.items():
            if text.get(key) not in (None, expected):
                raise CheckpointError(
                    f"The text encoder's config.json has {key} = {text[key]!r}, expected {expected!r}: not a Gemma-3 "
                    "that LTX-2 was trained with."
                )
        layers = text.get("num_hidden_layers", 26)
        global_rope, local_rope = _ropes(text)
        return cls(
            vocab_size=text.get("vocab_size", 262208),
            hidden_size=text.get("hidden_size", 2304),
            intermediate_size=text.get("intermediate_size", 9216),
            heads=text.get("num_attention_heads", 8),
            kv_heads=text.get("num_key_value_heads", 4),
            head_dim=text.get("head_dim", 256),
            sliding=_sliding_layers(text, layers),
            sliding_window=text.get("sliding_window", 4096),
            global_rope=global_rope,
            local_rope=local_rope,
            query_pre_attn_scalar=text.get("query_pre_attn_scalar", 256),
            norm_eps=text.get("rms_norm_eps", 1e-6),
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "GemmaParams":
        """From tensor shapes by module name (see `gemma_key_map`), for single files that carry no config.

        Only the first dimension of matrices is used: the second is packed in 4-bit files.  What shapes do not tell is
        what Gemma-3 models of that size have in common.  Raises CheckpointError when a tensor or a layer is missing.
        """
        numbers = {int(found[1]) for name in shapes if (found := re.match(r"layers\.(\d+)\.", name))}
        layers = len(numbers)
        if not numbers or numbers != set(range(layers)):
            raise CheckpointError(
                f"The text encoder file holds {layers} Gemma layers"
                + (f", but the last is number {max(numbers)}" if numbers else "")
                + ": expected all of them, numbered from 0. Download the file again."
            )

        def rows(name: str) -> int:
            if name not in shapes:
                raise CheckpointError(
                    f"The text encoder file has no tensor {name!r}, which tells a size of Gemma-3. It is not a Gemma-3 "
                    "language model, or part of it is missing."
                )
            return shapes[name][0]

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
            sliding=_sliding_layers({}, layers),
            sliding_window=512 if short else 1024,
            global_rope=GemmaRope(1_000_000.0, 1.0 if short else 8.0),
            local_rope=GemmaRope(10_000.0),
        )


def _sliding_layers(text: Mapping, layers: int) -> tuple[bool, ...]:
    """`layer_types` where the config has them, else five sliding layers to each global one."""
    types = text.get("layer_types")
    if types is None:
        pattern = text.get("sliding_window_pattern", text.get("_sliding_window_pattern", 6))
        return tuple((layer + 1) % pattern != 0 for layer in range(layers))
    if len(types) != layers or set(types) - {"sliding_attention", "full_attention"}:
        raise CheckpointError(
            f"layer_types in the text encoder's config.json is {types!r}: expected {layers} times 'sliding_attention' "
            "or 'full_attention'."
        )
    return tuple(kind == "sliding_attention" for kind in types)


def _ropes(text: Mapping) -> tuple[GemmaRope, GemmaRope]:
    """Global and local rotary settings, from `rope_parameters` (transformers 5) or the older separate keys."""
    by_layer = text.get("rope_parameters") or {}
    global_settings = {
        "rope_theta": text.get("rope_theta", 1_000_000.0),
        **(by_layer.get("full_attention") or {}),
        **(text.get("rope_scaling") or {}),
    }
    local_settings = {
        "rope_theta": text.get("rope_local_base_freq", 10_000.0),
        **(by_layer.get("sliding_attention") or {}),
    }
    return _rope(global_settings), _rope(local_settings)


def _rope(settings: Mapping) -> GemmaRope:
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind not in ("default", "linear"):
        raise CheckpointError(
            f"The text encoder's config.json scales rotary positions by {kind!r}, expected 'linear' or no scaling: not "
            "a Gemma-3 that LTX-2 was trained with."
        )
    return GemmaRope(float(settings["rope_theta"]), float(settings["factor"]) if kind == "linear" else 1.0)
