"""How small and how slow the reference film of an IC-LoRA is, as its trainer wrote into the metadata."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ..errors import CheckpointError, VariantError
from .file import LoRA

# Metadata by field; the vendor's trainer writes the first two side by side, and others put names of theirs in front.
_KEYS = {
    "size": ("reference_downscale_factor", "reference_spatial_scale_factor"),
    "time": ("reference_temporal_scale_factor",),
}


@dataclass(frozen=True)
class ReferenceFactors:
    """size: the reference has 1/size of the stage's width and height; time: it shows every time-th frame."""

    size: int = 1
    time: int = 1


def reference_factors(lora: LoRA) -> ReferenceFactors:
    """The factors of one LoRA, 1 where its metadata has none; CheckpointError where it has something else there."""
    return ReferenceFactors(**{name: _factor(lora, keys) for name, keys in _KEYS.items()})


def common_reference_factors(loras: Iterable[LoRA]) -> ReferenceFactors:
    """The factors that all of the LoRAs agree on, whose 1 leaves it to the others; VariantError where two differ."""
    common, said_by = ReferenceFactors(), {}
    for lora in loras:
        own = reference_factors(lora)
        for field in fields(own):
            name, factor = field.name, getattr(own, field.name)
            if factor == 1:
                continue
            if getattr(common, name) not in (1, factor):
                raise VariantError(
                    f"Two IC-LoRAs read references of different {name}: {said_by[name]} has {_KEYS[name][0]} "
                    f"{getattr(common, name)}, {lora.path.name} has {factor}. A film's references are read by one of "
                    "both: take the other LoRA out."
                )
            common, said_by[name] = ReferenceFactors(**{**vars(common), name: factor}), lora.path.name
    return common


def _factor(lora: LoRA, keys: tuple[str, ...]) -> int:
    named = ((key, value) for key in keys for name, value in lora.file.metadata.items() if name.endswith(key))
    key, value = next(named, (keys[0], "1"))
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if factor < 1 or not factor.is_integer():  # NaN and infinity fail too
        raise CheckpointError(
            f"{lora.path} says {key} {value[:40]!r} in its metadata, expected a whole number from 1: the reference "
            "would be read at a size or a rate that nobody meant. Take the file from its source again."
        )
    return int(factor)
