"""How small and how slow the reference film of an IC-LoRA is, as its trainer wrote into the metadata."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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
    return factors_in(lora.file.metadata, str(lora.path))


def factors_in(metadata: Mapping[str, object], name: str) -> ReferenceFactors:
    """The same of the metadata of the LoRA called `name`."""
    return ReferenceFactors(**{field: _factor(metadata, keys, name) for field, keys in _KEYS.items()})


def common_reference_factors(loras: Iterable[LoRA]) -> ReferenceFactors:
    """The factors that all of the LoRAs agree on, whose 1 leaves it to the others; VariantError where two differ."""
    return common_factors((lora.path.name, reference_factors(lora)) for lora in loras)


def common_factors(named: Iterable[tuple[str, ReferenceFactors]]) -> ReferenceFactors:
    """The same of factors with the names of their LoRAs."""
    common, said_by = ReferenceFactors(), {}
    for name, own in named:
        for field, keys in _KEYS.items():
            before, factor = getattr(common, field), getattr(own, field)
            if factor == 1:
                continue
            if before not in (1, factor):
                raise VariantError(
                    f"Two IC-LoRAs read references of different {field}: {said_by[field]} has {keys[0]} {before}, "
                    f"{name} has {factor}. A film's references are read by one of both: take the other LoRA out."
                )
            common, said_by[field] = replace(common, **{field: factor}), name
    return common


def _factor(metadata: Mapping[str, object], keys: tuple[str, ...], name: str) -> int:
    found = ((key, value) for key in keys for own, value in metadata.items() if own.endswith(key))
    key, value = next(found, (keys[0], "1"))
    try:
        factor = float(value)
    except (TypeError, ValueError):
        factor = 0.0
    if factor < 1 or not factor.is_integer():  # NaN and infinity fail too
        raise CheckpointError(
            f"{name} says {key} {str(value)[:40]!r} in its metadata, expected a whole number from 1: the reference "
            "would be read at a size or a rate that nobody meant. Take the file from its source again."
        )
    return int(factor)
