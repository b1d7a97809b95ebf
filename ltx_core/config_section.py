"""A section of a model file's config, whose entries are read by name and kind.

A file's config is somebody else's JSON: whatever stands in it is used, or refused with what was found, what was
expected and what to do.
"""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import CheckpointError

AS_PUBLISHED = "Use the file as its publisher released it, or one converted with its metadata kept."

# No model comes near these.  A larger number is a mistake, and would be found by running out of memory or of patience.
LARGEST_SIZE = 1_000_000
LARGEST_NUMBER = 1_000_000_000
MOST_LAYERS = 1000
LONGEST_LIST = 64

_SHORT = reprlib.Repr()
_SHORT.maxlist, _SHORT.maxlevel, _SHORT.maxstring = 8, 3, 80


@dataclass(frozen=True)
class Section:
    """One table of a config: `file` is what messages call the config, `path` what they put before a key ("vae.").

    Each method reads one entry.  A missing entry takes the default, or is refused where there is none; null is no
    missing entry.  All raise CheckpointError.
    """

    values: Mapping[str, Any]
    file: str = "The checkpoint's config"
    path: str = ""

    @classmethod
    def required(cls, config: Mapping[str, Any], name: str, holds: str) -> "Section":
        """The section `name` of a checkpoint's whole config; `holds` says what a user misses without it."""
        if not isinstance(values := config.get(name), Mapping):
            raise CheckpointError(
                f"{cls.file} has no '{name}' section, expected a table that holds {holds}. {AS_PUBLISHED}"
            )
        return cls(values, path=f"{name}.")

    def section(self, key: str) -> "Section":
        """The table at `key`; a missing one is empty."""
        values = self._read(key, {}, lambda value: isinstance(value, Mapping), "a table")
        return replace(self, values=values, path=f"{self.path}{key}.")

    def without_nulls(self) -> "Section":
        """The same where null means that an entry is missing, as in configs of Hugging Face."""
        return replace(self, values={key: value for key, value in self.values.items() if value is not None})

    def refusal(
        self, key: str, expected: str, to_do: str = AS_PUBLISHED, error: type[CheckpointError] = CheckpointError
    ) -> CheckpointError:
        """The error to raise when the entry at `key` is not what was expected."""
        name = self.path + key
        found = f"has {name} = {_SHORT.repr(self.values[key])}" if key in self.values else f"lacks {name}"
        return error(f"{self.file} {found}, expected {expected}. {to_do}")

    def fixed(
        self, entries: Mapping[str, Any], to_do: str = AS_PUBLISHED, error: type[CheckpointError] = CheckpointError
    ) -> None:
        """Refuses entries that are there and differ from these, the only ones that the engine runs."""
        for key, expected in entries.items():
            if self.values.get(key, expected) != expected:
                raise self.refusal(key, repr(expected), to_do, error)

    def whole(self, key: str, default: int | None = None, *, multiple_of: int = 1, at_most: int = LARGEST_SIZE) -> int:
        kind = "whole number" if multiple_of == 1 else f"multiple of {multiple_of}"
        return self._read(
            key,
            default,
            lambda value: _is_whole(value, at_most) and value % multiple_of == 0,
            f"a {kind} from {multiple_of} to {at_most:,}",
        )

    def layers(self, key: str, default: int | None = None, *, at_least: int = 1) -> int:
        expected = f"a whole number from {at_least} to {MOST_LAYERS:,}"
        return self._read(key, default, lambda value: _is_whole(value, MOST_LAYERS, at_least), expected)

    def number(self, key: str, default: float | None = None) -> float:
        return self._read(key, default, _is_number, f"a number above 0, at most {LARGEST_NUMBER:,}")

    def boolean(self, key: str, default: bool) -> bool:
        return bool(self._read(key, default, lambda value: value in (True, False), "true or false"))

    def choice(self, key: str, choices: tuple, default: Any = None, to_do: str = AS_PUBLISHED) -> Any:
        """One of a few texts or numbers."""
        expected = repr(choices[0]) if len(choices) == 1 else "one of " + ", ".join(map(repr, choices))
        return self._read(key, default, lambda value: value in choices, expected, to_do)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """As many numbers as the default has."""
        expected = f"a list of {len(default)} numbers above 0" if len(default) > 1 else "a list of one number above 0"
        fits = _list_of(_is_number)
        return tuple(self._read(key, default, lambda value: fits(value) and len(value) == len(default), expected))

    def wholes(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._read(key, default, _list_of(_is_whole), f"{_UP_TO} whole numbers above 0"))

    def lists_of_wholes(self, key: str, default: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        lists = self._read(key, default, _list_of(_list_of(_is_whole)), f"{_UP_TO} lists of whole numbers above 0")
        return tuple(map(tuple, lists))

    def _read(
        self, key: str, default: Any, fits: Callable[[Any], bool], expected: str, to_do: str = AS_PUBLISHED
    ) -> Any:
        value = self.values.get(key, default)
        if not fits(value):
            raise self.refusal(key, expected, to_do)
        return value


_UP_TO = f"a list of 1 to {LONGEST_LIST}"


def _is_whole(value: object, at_most: int = LARGEST_SIZE, at_least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LARGEST_NUMBER


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and 1 <= len(value) <= LONGEST_LIST and all(map(fits, value))
