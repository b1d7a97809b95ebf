"""What preflight finds, and the files that it looks into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from ..names import (
    DECODE,
    FILM_CONDITIONS,
    GUIDANCE,
    IMAGE_CONDITION,
    LATENT_UPSAMPLER,
    LOAD_LATENT,
    LORA_LOADER,
    MODEL_LOADER,
    PROMPT_LENGTH,
    REFERENCE_VIDEO,
    REFERENCE_VOICE,
    SAVE_LATENT,
    SOUND_CONDITION,
    SOUND_DECODE,
    SOUND_SAMPLER,
    STAGE_ONE_SAMPLER,
    STAGE_TWO_SAMPLER,
    TEXT_ENCODE,
    TEXT_ENCODER_LOADER,
    UPSAMPLER_LOADER,
    VAE_LOADER,
)
from ..prompt_graph import Node


class Files(Protocol):
    """Opened files by the loader node that names them; None for what cannot be opened or is not known yet."""

    def checkpoint(self, loader: Node) -> Checkpoint | None: ...

    def audio_vae(self, loader: Node) -> Checkpoint | None:
        """The file from which a VAE loader takes the audio VAE."""
        ...

    def lora(self, loader: Node) -> LoRA | None: ...

    def lora_shapes(self, model: Checkpoint) -> Mapping[str, Sequence[int]]:
        """The shapes of the parameters that a LoRA may change, by name."""
        ...

    def saved_latent(self, loader: Node) -> tuple[int, ...] | None:
        """The shape (B, 128, F', H', W') of a saved latent's picture."""
        ...

    def opened(self, loader: Node, slot: str, folders: Sequence[str]) -> Checkpoint | None:
        """The file that one of ComfyUI's loaders names in `slot`."""
        ...

    def paths(self, loader: Node) -> list[Path]:
        """All weight files that the loader names, as far as they are there."""
        ...


# The input that a message stands under when a rule names none.
_MAIN_INPUT = {
    MODEL_LOADER: "checkpoint",
    LORA_LOADER: "lora",
    VAE_LOADER: "checkpoint",
    TEXT_ENCODER_LOADER: "projection",
    UPSAMPLER_LOADER: "upsampler",
    TEXT_ENCODE: "prompt",
    PROMPT_LENGTH: "duration_head",
    IMAGE_CONDITION: "frame",
    SOUND_CONDITION: "audio",
    **dict.fromkeys(FILM_CONDITIONS, "video"),
    REFERENCE_VIDEO: "video",
    REFERENCE_VOICE: "audio",
    GUIDANCE: "preset",
    STAGE_ONE_SAMPLER: "model",
    STAGE_TWO_SAMPLER: "model",
    SOUND_SAMPLER: "model",
    SOUND_DECODE: "latent",
    LATENT_UPSAMPLER: "latent",
    DECODE: "latent",
    SAVE_LATENT: "latent",
    LOAD_LATENT: "file",
}


@dataclass
class Report:
    """Findings by node: what is surely wrong stops the prompt, what is likely wrong is told.

    `wrong`: by node id and input, one message each; the first finding of an input stays.
    """

    wrong: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[tuple[Node, str]] = field(default_factory=list)

    @property
    def errors(self) -> dict[str, str]:
        """All messages of a node, by its id."""
        return {node: "\n".join(messages.values()) for node, messages in self.wrong.items()}

    def error(self, node: Node, message: str, input: str | None = None) -> None:
        """`input`: the one that is wrong; the message stands under it."""
        name = input or _MAIN_INPUT.get(node.type, "")
        self.wrong.setdefault(node.id, {}).setdefault(name, message)

    def warn(self, node: Node, message: str) -> None:
        if (node, message) not in self.warnings:
            self.warnings.append((node, message))

    def attempt(self, node: Node, check: Callable, *arguments, input: str | None = None) -> None:
        """Runs a check of the engine; what it raises is an error of `node`."""
        try:
            check(*arguments)
        except LTXError as error:
            self.error(node, str(error), input)
