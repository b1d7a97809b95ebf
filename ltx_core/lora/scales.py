"""A LoRA's scale where the file has no alphas as tensors: what trainers write into the metadata.

An alpha there belongs to the rank there, where one stands beside it: ranks of small layers are smaller than that.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Rank by the file's own name of a layer, its official name, the tensors' rank -> scale.
Scale = Callable[[str, str, int], float | None]
_PREFIXES = ("transformer.", "connectors.", "")


@dataclass(frozen=True)
class MetadataScale:
    """The scale of layers, and the metadata key that it is read from."""

    key: str
    of: Scale


def metadata_scale(metadata: Mapping[str, str], kohya: bool) -> MetadataScale | None:
    """What the metadata says of scales, None where that is nothing.

    `kohya`: whether names are kohya's.  Its converters to other names multiply the factors with the scale, and leave
    the metadata as it is.
    """
    if (adapter := _table(metadata.get("lora_adapter_metadata"))) is not None:
        return MetadataScale("lora_adapter_metadata", lambda layer, name, rank: _of_peft(adapter, layer, name, rank))
    if (alpha := _number(metadata.get("lora_alpha"))) is not None:
        return MetadataScale("lora_alpha", _constant(alpha, _number(metadata.get("lora_rank") or metadata.get("rank"))))
    if kohya and (alpha := _number(metadata.get("ss_network_alpha"))) is not None:
        return MetadataScale("ss_network_alpha", _constant(alpha, _number(metadata.get("ss_network_dim"))))
    return None


def _constant(alpha: float, declared: float | None) -> Scale:
    return lambda _layer, _name, rank: alpha / (declared or rank)


def _of_peft(adapter: Mapping[str, Any], layer: str, name: str, rank: int) -> float | None:
    """The scale of a layer by a PEFT configuration, whose keys diffusers writes behind the component's name."""
    prefix = next((p for p in _PREFIXES if layer.startswith(p) and f"{p}lora_alpha" in adapter), "")
    names = (layer.removeprefix(prefix), name)
    alpha = _pattern(adapter.get(f"{prefix}alpha_pattern"), names) or _number(adapter.get(f"{prefix}lora_alpha"))
    if alpha is None:
        return None
    patterns = adapter.get(f"{prefix}rank_pattern")
    # Patterns may be any regular expressions: where none is understood, the tensors know their rank.
    declared = None if patterns else _number(adapter.get(f"{prefix}r"))
    ranks = _pattern(patterns, names) or declared or rank
    return alpha / (math.sqrt(ranks) if adapter.get(f"{prefix}use_rslora") is True else ranks)


def _pattern(patterns: object, names: tuple[str, ...]) -> float | None:
    """The number of the pattern that one of the names ends with."""
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if any(name == plain or name.endswith(f".{plain}") for name in names):
            return _number(value)
    return None


def _table(text: str | None) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and any(key.endswith("lora_alpha") for key in found) else None


def _number(value: object) -> float | None:
    """A finite number above zero; None for what is none."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
