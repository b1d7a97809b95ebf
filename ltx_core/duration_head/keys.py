"""Tensor names of the duration head in the files it is published in: on its own, or beside other parts."""

from collections.abc import Iterable

_PREFIX = "duration_head."


def duration_head_key_map(keys: Iterable[str]) -> dict[str, str]:
    """file key -> name in `DurationHead`, for every tensor of the head among `keys`."""
    return {key: key.removeprefix(_PREFIX) for key in keys if key.startswith(_PREFIX)}
