"""`validate_inputs` of all nodes: each message stands under the one input that is wrong.

ComfyUI shows what `validate_inputs` answers under every input that its signature names, and skips its own checks of
those inputs.  So the signature names only the inputs about which there is something to say in the prompt that is now
being validated.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from ..ltx_core.errors import LTXError
from .declared import widgets
from .prompt_graph import UNKNOWN, Node
from .values import convert

Messages = dict[str, dict[str, str]]  # by node id, by input


@dataclass
class Wrong:
    """What is wrong with the inputs of one node; the first finding of an input stays."""

    by_input: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, message: str) -> None:
        self.by_input.setdefault(name, message)

    def attempt(self, name: str, check: Callable, *arguments) -> bool:
        """Runs a check of the engine; what it raises is wrong with that input.  Whether all was well."""
        try:
            check(*arguments)
        except LTXError as error:
            self.add(name, str(error))
            return False
        return True


@dataclass(frozen=True)
class Placed:
    """The messages of a prompt, and the inputs that each kind of node has to name so that they are shown."""

    messages: Messages
    names: Mapping["Validation", tuple[str, ...]]


placed: ContextVar[Placed | None] = ContextVar("ltx_duo_placed_messages", default=None)


class Validation:
    """`validate_inputs` by the rule of a node: `rule(wrong, width=..., ...)` adds to `wrong`; None is not known yet.

    Called with values, outside of a prompt, it judges those: True, or what is wrong.
    """

    def __init__(self, rule: Callable):
        self.rule = rule
        self.names = tuple(inspect.signature(rule).parameters)[1:]

    @property
    def __signature__(self) -> inspect.Signature:
        found = placed.get()
        names = () if found is None else found.names.get(self, ())
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(name, kind) for name in ("cls", *names)])

    def __call__(self, node: type, **values):
        found, node_id = placed.get(), getattr(node.hidden, "unique_id", None)
        if found is not None and node_id is not None:
            messages = found.messages.get(str(node_id), {})
            return _Answer(messages[name] for name in values if name in messages) if messages else True
        wrong = Wrong()
        self.rule(wrong, **values)
        return "\n".join(wrong.by_input.values()) or True


class _Answer:
    """Messages for ComfyUI, which asks for text once for each input that it handed over, in the same order."""

    def __init__(self, messages: Iterable[str]):
        self._messages = itertools.cycle(tuple(messages))

    def __str__(self) -> str:
        return next(self._messages)


def validation(rule: Callable) -> classmethod:
    return classmethod(Validation(rule))


def declared_only() -> classmethod:
    """For nodes without a rule of their own: declared ranges, and what is found in the whole prompt."""
    return validation(lambda wrong: None)


def validation_of(node: type) -> Validation:
    return node.validate_inputs.__func__


def check_inputs(node: Node, node_class: type) -> tuple[dict[str, str], dict[str, str]]:
    """What is wrong with a node's own inputs, by input: what ComfyUI does not see, and what it says itself."""
    wrong, theirs, known = Wrong(), {}, {}
    for name, widget in widgets(node_class).items():
        value = node.constant(name)
        if value is UNKNOWN:
            continue
        linked = isinstance(node.inputs.get(name), list)
        try:
            value = widget.take(value) if linked else convert(widget.kind, value)
        except LTXError as error:
            wrong.add(name, str(error))
            continue
        except (ValueError, TypeError, OverflowError):
            continue  # ComfyUI says so, whether the input is named or not
        if (problem := widget.problem(value)) is None:
            known[name] = value
        elif widget.seen_by_comfyui(value):
            theirs[name] = problem
        else:
            wrong.add(name, problem)
    rule = validation_of(node_class)
    rule.rule(wrong, **{name: known.get(name) for name in rule.names})
    return wrong.by_input, theirs


def place(nodes: Mapping[str, Mapping], wrong: Messages, theirs: Messages) -> tuple[Messages, tuple[str, ...]]:
    """Where the messages of the nodes of one class are shown, and the inputs that the class has to name for that.

    `nodes`: the inputs of each in the prompt.  Where ComfyUI would show a message under an input that another node of
    the class is wrong in, all messages of a node stand together under one input that all of them have.
    """
    names = tuple(dict.fromkeys(name for messages in wrong.values() for name in messages))
    unseen = {node: {name: text for name, text in theirs.get(node, {}).items() if name in names} for node in nodes}
    messages = {node: {**unseen[node], **wrong.get(node, {})} for node in nodes}
    messages = {node: found for node, found in messages.items() if found}
    if all(found.keys() == set(names) & nodes[node].keys() for node, found in messages.items()):
        return messages, names
    shared = [name for name in nodes[next(iter(messages))] if all(name in nodes[node] for node in messages)]
    home = next((name for name in names if name in shared), shared[0] if shared else names[0])
    together = {}
    for node in nodes:
        texts = [text for name, text in wrong.get(node, {}).items()]
        if home in theirs.get(node, {}):
            texts.append(theirs[node][home])
        if texts:
            together[node] = {home: "\n".join(texts)}
    return together, (home,)
