"""What the LoRA loader says of its file: what acts, where and how strongly, and what does nothing."""

from collections import Counter
from collections.abc import Iterator

from ...ltx_core.errors import CheckpointError
from ...ltx_core.lora import LoRA, reference_factors
from ...ltx_core.lora.names import CONNECTORS, is_cross, stream
from .handles import LoraUse

CROSS, CONNECTOR = "between picture and sound", "text connectors"


def lora_text(use: LoraUse) -> str:
    """E.g. "LoRA of rank 32 to 384 on 1,660 layers: picture 632, sound 632, between picture and sound 396"."""
    lora = use.lora
    places = Counter(_place(name) for name in lora.layers)
    ranks = sorted(set(lora.ranks().values()))
    rank = f" of rank {ranks[0]:,}" if ranks else ""
    if len(ranks) > 1:
        rank += f" to {ranks[-1]:,}"
    plural = "layer" if len(lora.layers) == 1 else "layers"
    text = f"{_kinds(lora)}{rank} on {len(lora.layers):,} {plural}: "
    text += ", ".join(f"{place} {count:,}" for place, count in places.items())
    if lora.reference is not None:
        text += f"; an IC-LoRA: {_reads(lora)}"
    if lora.scale_key is not None:
        text += f"; scaled as {lora.scale_key} in its metadata says"
    return text


def warnings(use: LoraUse) -> Iterator[str]:
    """What of the file does nothing, in whole or at these strengths."""
    lora = use.lora
    for unused in lora.unused:
        yield f"Of {lora.path.name}, {unused} are not used; everything else is."
    silent = {_place(name) for name in lora.layers if not use.streams.of(name)}
    acting = {_place(name) for name in lora.layers if use.streams.of(name)}
    if any(use.strengths) and silent and not acting:
        yield (
            f"{lora.path.name} changes only layers that are at 0 here ({', '.join(sorted(silent))}): it does nothing. "
            "Raise video strength, audio strength or cross strength."
        )


def _reads(lora: LoRA) -> str:
    """What reference it reads, or that its metadata say nonsense, which is refused where it counts."""
    try:
        factors = reference_factors(lora)
    except CheckpointError as error:
        return str(error)
    size = "a reference of the film's size" if factors.size == 1 else f"a reference of 1/{factors.size} of the size"
    return size if factors.time == 1 else f"{size}, of which every {factors.time}th frame"


def _place(layer: str) -> str:
    if layer.startswith(CONNECTORS):
        return CONNECTOR
    return CROSS if is_cross(layer) else stream(layer).value


def _kinds(lora: LoRA) -> str:
    kinds = Counter(layer.kind for layer in lora.layers.values())
    return " and ".join(kind for kind, _ in kinds.most_common())
