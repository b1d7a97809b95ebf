"""What a node's schema declares of its inputs, for the values that ComfyUI does not compare with it.

ComfyUI looks at constants in a prompt only, not at what other nodes deliver; its older versions look at no choices, and
none sees that NaN lies in no range.
"""

import functools
import inspect
import numbers
from collections.abc import Callable
from dataclasses import dataclass

from ..ltx_core.errors import LTXError
from .values import BOOLEAN, COMBO, FLOAT, INT, STRING, convert

_SHOWN = 120  # characters of a wrong value, and choices of a list, that a message repeats


@dataclass(frozen=True)
class Widget:
    """An input with a value of its own: its type, range [low, high] or choices, and its default if it has one.

    `names_file`: choices are files that the node looks for itself, with a better message than a list can give.
    """

    name: str
    kind: str
    low: float | None
    high: float | None
    choices: tuple | None
    default: object
    optional: bool
    names_file: bool

    def problem(self, value: object) -> str | None:
        """What is wrong with a value of the right type, or None."""
        if self.kind == COMBO:
            fits = isinstance(value, str) if self.names_file else value in self.choices
        elif self.kind in (INT, FLOAT):
            fits = not (
                value != value
                or (self.low is not None and value < self.low)
                or (self.high is not None and value > self.high)
            )
        else:
            fits = True
        return None if fits else f"{self.name} is {shortened(value)}; expected {self._expected()}."

    def seen_by_comfyui(self, value: object) -> bool:
        """Whether every supported ComfyUI refuses a constant that has this value and a problem."""
        return self.kind in (INT, FLOAT) and value == value

    def take(self, value: object):
        """What another node delivers, as this input takes it; LTXError for another type, range or choice."""
        wrong = LTXError(f"{self.name} is {shortened(value)}; expected {self._expected()}.")
        if self.kind != COMBO and not isinstance(value, (str, bool, numbers.Real)):
            raise wrong
        try:
            taken = convert(self.kind, value)
        except (ValueError, TypeError, OverflowError):
            raise wrong from None
        whole = self.kind != INT or isinstance(value, str) or taken == value
        if not whole or (self.kind == BOOLEAN and isinstance(value, str)) or self.problem(taken) is not None:
            raise wrong
        return taken

    def _expected(self) -> str:
        if self.kind == COMBO:
            if self.names_file:
                return "the name of a file"
            return f"one of {', '.join(map(repr, self.choices[:_SHOWN]))}"
        if self.kind in (INT, FLOAT):
            words = "a whole number" if self.kind == INT else "a number"
            return f"{words} from {_plain(self.low)} to {_plain(self.high)}"
        return "text" if self.kind == STRING else "true or false"


def widgets(node: type) -> dict[str, Widget]:
    """The inputs of a node class that hold a value, by name."""
    kinds = (INT, FLOAT, STRING, BOOLEAN, COMBO)
    return {
        part.id: Widget(
            part.id,
            part.get_io_type(),
            getattr(part, "min", None),
            getattr(part, "max", None),
            None if (choices := getattr(part, "options", None)) is None else tuple(choices),
            part.default,
            bool(part.optional),
            getattr(part, "names_file", False),
        )
        for part in node.define_schema().inputs
        if part.get_io_type() in kinds
    }


def declared(execute: Callable) -> Callable:
    """`execute` that gets each widget as its schema declares it, and the default of one that is not given.

    LTXError, in place of the run, for what another node delivers outside of it.
    """
    if inspect.iscoroutinefunction(execute):

        @functools.wraps(execute)
        async def run(cls, **inputs):
            return await execute(cls, **_taken(cls, inputs))

    else:

        @functools.wraps(execute)
        def run(cls, **inputs):
            return execute(cls, **_taken(cls, inputs))

    return run


def _taken(node: type, inputs: dict) -> dict:
    taken = dict(inputs)
    for name, widget in widgets(node).items():
        if name in inputs:
            taken[name] = widget.take(inputs[name])
        elif widget.optional:
            taken[name] = widget.default
    return taken


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def shortened(value: object) -> str:
    """A value for a message: never longer than a line, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "a number with thousands of digits"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
