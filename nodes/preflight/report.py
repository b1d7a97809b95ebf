"""What preflight finds, and the files that it looks into."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from ..prompt_graph import Node


class Files(Protocol):
    """Opened files by the loader node that names them; None for what cannot be opened or is not known yet."""

    def checkpoint(self, loader: Node) -> Checkpoint | None: ...

    def lora(self, loader: Node) -> LoRA | None: ...

    def paths(self, loader: Node) -> list[Path]:
        """All weight files that the loader names, as far as they are there."""
        ...


@dataclass
class Report:
    """Findings by node: what is surely wrong stops the prompt, what is likely wrong is told."""

    errors: dict[str, str] = field(default_factory=dict)
    warnings: list[tuple[Node, str]] = field(default_factory=list)

    def error(self, node: Node, message: str) -> None:
        self.errors.setdefault(node.id, message)

    def warn(self, node: Node, message: str) -> None:
        if (node, message) not in self.warnings:
            self.warnings.append((node, message))

    def attempt(self, node: Node, check: Callable, *arguments) -> None:
        """Runs a check of the engine; what it raises is an error of `node`."""
        try:
            check(*arguments)
        except LTXError as error:
            self.error(node, str(error))
