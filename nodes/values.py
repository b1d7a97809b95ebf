"""Constants of a prompt, converted as ComfyUI converts them.  Imports nothing of ComfyUI."""

from collections.abc import Callable

INT, FLOAT, STRING, BOOLEAN, COMBO = "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"

_CONVERT: dict[str, Callable] = {INT: int, FLOAT: float, STRING: str, BOOLEAN: bool}


def unwrapped(value):
    """What stands in {"__value__": ...}, ComfyUI's way to write a list that is no link."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def convert(kind: str, value):
    """A constant as ComfyUI hands it to an input of type `kind`: int("1536"), float(24), any choice as it is.

    ValueError, TypeError or OverflowError where ComfyUI refuses it.
    """
    return _CONVERT[kind](unwrapped(value)) if kind in _CONVERT else unwrapped(value)
