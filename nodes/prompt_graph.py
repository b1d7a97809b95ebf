"""A queued prompt as a graph: which node feeds which, and what is known of inputs before anything runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A node of a prompt in API format; `inputs` are constants, or links [node id, output index]."""

    id: str
    type: str
    inputs: Mapping

    def value(self, name: str, kind: type | tuple[type, ...] = object):
        """A constant input of that kind; None for linked, absent or strange ones."""
        value = self.inputs.get(name)
        return value if isinstance(value, kind) and not isinstance(value, list) else None

    def has(self, name: str) -> bool:
        """Whether anything is given or connected there."""
        return self.inputs.get(name) is not None


class PromptGraph:
    """The nodes of a prompt.  Whatever the prompt holds that is no node, or links to nowhere, counts as absent."""

    def __init__(self, prompt: object):
        entries = prompt.items() if isinstance(prompt, Mapping) else ()
        self.nodes = {
            str(number): Node(str(number), entry["class_type"], entry["inputs"])
            for number, entry in entries
            if isinstance(entry, Mapping)
            and isinstance(entry.get("class_type"), str)
            and isinstance(entry.get("inputs"), Mapping)
        }

    def of_type(self, *types: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.type in types]

    def source(self, node: Node, name: str) -> Node | None:
        """The node that an input is linked to."""
        link = node.inputs.get(name)
        return self.nodes.get(str(link[0])) if isinstance(link, list) and len(link) == 2 else None

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
