"""A queued prompt as a graph: which node feeds which, and what is known of inputs before anything runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from .names import PROMPT_LENGTH
from .values import BOOLEAN, COMBO, FLOAT, INT, STRING, convert, unwrapped

UNKNOWN = object()

# Nodes whose outputs are known before they run: (type, output) -> the input they give, and as what.
_CONSTANTS = {
    ("PrimitiveInt", 0): ("value", INT),
    ("PrimitiveFloat", 0): ("value", FLOAT),
    ("PrimitiveString", 0): ("value", STRING),
    ("PrimitiveStringMultiline", 0): ("value", STRING),
    ("PrimitiveBoolean", 0): ("value", BOOLEAN),
    ("SeedNode", 0): ("seed", INT),
    ("CustomCombo", 0): ("choice", COMBO),
    ("CustomCombo", 1): ("index", COMBO),
    ("ComfyNumberConvert", 0): ("value", FLOAT),
    ("ComfyNumberConvert", 1): ("value", INT),
    (PROMPT_LENGTH, 1): ("fps", FLOAT),
}
_SWITCH = "ComfySwitchNode"
_REROUTE = "Reroute"  # how the types begin that only bring a link elsewhere


@dataclass(frozen=True)
class Node:
    """A node of a prompt in API format; `inputs` are constants, or links [node id, output index]."""

    id: str
    type: str
    inputs: Mapping
    graph: PromptGraph | None = field(default=None, repr=False, compare=False)

    def value(self, name: str, kind: type | tuple[type, ...] = object):
        """What is known of an input, as `int`, `str`, `bool`, a number (int, float), or as it stands (object).

        A constant is converted as ComfyUI converts it, and so is one that another node hands on.  None for what only a
        run tells, and for what ComfyUI refuses.
        """
        value = self.constant(name)
        if value is UNKNOWN or value is None or self._is_refused(name):
            return None
        if kind is object:
            return value
        if kind is str:
            return str(value) if isinstance(value, (str, int, float)) else None
        try:
            number = convert({int: INT, bool: BOOLEAN}.get(kind, FLOAT), value)
        except (ValueError, TypeError, OverflowError):
            return None
        return number if isinstance(number, int) or math.isfinite(number) else None

    def constant(self, name: str):
        """An input's constant as it stands, its default, or what a linked node of constants gives; else UNKNOWN."""
        if name not in self.inputs:
            return UNKNOWN if self.graph is None else self.graph.default(self, name)
        value = self.inputs[name]
        if not isinstance(value, list):
            return unwrapped(value)
        return UNKNOWN if self.graph is None else self.graph.linked_constant(value)

    def has(self, name: str) -> bool:
        """Whether anything is given or connected there."""
        return self.inputs.get(name) is not None

    def _is_refused(self, name: str) -> bool:
        return self.graph is not None and name in self.graph.refused.get(self.id, ())


class PromptGraph:
    """The nodes of a prompt.  Whatever the prompt holds that is no node, or links to nowhere, counts as absent.

    `defaults`: by node type and input, what an input that is not given stands for.  `refused`: by node id, the inputs
    whose values the node does not take; their values are not known, so that nothing else is said of them.
    """

    def __init__(self, prompt: object, defaults: Mapping[str, Mapping] | None = None):
        entries = prompt.items() if isinstance(prompt, Mapping) else ()
        self._defaults = defaults or {}
        self._deciding: set[str] = set()
        self.refused: Mapping[str, Collection[str]] = {}
        self.nodes = {
            str(number): Node(str(number), entry["class_type"], entry["inputs"], self)
            for number, entry in entries
            if isinstance(entry, Mapping)
            and isinstance(entry.get("class_type"), str)
            and isinstance(entry.get("inputs"), Mapping)
        }

    def of_type(self, *types: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.type in types]

    def default(self, node: Node, name: str):
        return self._defaults.get(node.type, {}).get(name, UNKNOWN)

    def source(self, node: Node, name: str) -> Node | None:
        """The node that an input is linked to; nodes that only hand something on are not seen."""
        found = self._origin(node.inputs.get(name))
        return None if found is None else found[0]

    def linked_constant(self, link: object):
        """What comes through a link, where it is known before anything runs; else UNKNOWN."""
        seen = set()
        kinds = []
        while (found := self._origin(link)) is not None and found[0].id not in seen:
            node, output = found
            seen.add(node.id)
            name, kind = _CONSTANTS.get((node.type, output), (None, None))
            if name is None:
                break
            kinds.append(kind)
            link = node.inputs.get(name, UNKNOWN)
            if not isinstance(link, list):
                return UNKNOWN if link is UNKNOWN else _converted(link, reversed(kinds))
        return UNKNOWN

    def is_used(self, node_id: str) -> bool:
        """Whether any node is linked to an output of that one."""
        return any(
            isinstance(link, list) and len(link) == 2 and str(link[0]) == node_id
            for node in self.nodes.values()
            for link in node.inputs.values()
        )

    def chain(self, node: Node, name: str) -> Iterator[Node]:
        """The node linked to `name`, the one linked to that one's input of the same name, and so on."""
        seen = {node.id}
        while (node := self.source(node, name)) is not None and node.id not in seen:
            seen.add(node.id)
            yield node

    def ancestors(self, node: Node) -> Iterator[Node]:
        """All nodes that `node` depends on."""
        waiting, seen = [node], {node.id}
        while waiting:
            current = waiting.pop()
            for name in current.inputs:
                source = self.source(current, name)
                if source is not None and source.id not in seen:
                    seen.add(source.id)
                    waiting.append(source)
                    yield source

    def _origin(self, link: object) -> tuple[Node, int] | None:
        """The node and the output that a link comes from, through nodes that only hand it on."""
        seen = set()
        while isinstance(link, list) and len(link) == 2 and isinstance(link[1], int):
            node = self.nodes.get(str(link[0]))
            if node is None or node.id in seen:
                return None
            if (further := self._handed_on(node)) is None:
                return node, link[1]
            seen.add(node.id)
            link = further
        return None

    def _handed_on(self, node: Node) -> list | None:
        """The link that a node passes on unchanged; None for a node that makes something."""
        if node.type == _SWITCH:
            return self._switched(node)
        links = [value for value in node.inputs.values() if isinstance(value, list)]
        return links[0] if node.type.startswith(_REROUTE) and len(links) == 1 else None

    def _switched(self, node: Node) -> list | None:
        if node.id in self._deciding:
            return None  # a switch that hangs on itself
        self._deciding.add(node.id)
        switch = node.value("switch", bool)
        self._deciding.remove(node.id)
        further = None if switch is None else node.inputs.get("on_true" if switch else "on_false")
        return further if isinstance(further, list) else None


def _converted(value, kinds: Iterator[str]):
    try:
        for kind in kinds:
            value = convert(kind, value)
    except (ValueError, TypeError, OverflowError):
        return UNKNOWN
    return value
