"""The duration head's sizes, read from its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config_section import AS_PUBLISHED, Section
from ..errors import CheckpointError


@dataclass(frozen=True)
class DurationHeadParams:
    """Widths of both contexts, and of what the head makes of them; `queries` learned ones gather the contexts."""

    video_width: int = 4096
    audio_width: int = 2048
    width: int = 256
    queries: int = 1
    heads: int = 4
    hidden_width: int = 256

    def __post_init__(self):
        if self.width % self.heads:
            raise CheckpointError(
                f"The duration head is {self.width} wide with {self.heads} attention heads, expected a width that is a "
                f"multiple of their number. {AS_PUBLISHED}"
            )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> "DurationHeadParams":
        """From tensor shapes by module name, as published files say nothing of the head.

        Only the number of heads may stand in the section `duration_head` of their `config`, and is the vendor's where
        it does not.  CheckpointError when a tensor is missing.
        """

        def size(name: str, axis: int) -> int:
            if len(shapes.get(name, ())) != 2:
                raise CheckpointError(
                    f"The duration head lacks its {name}, which tells a size of it: part of the file is missing. "
                    "Download it again."
                )
            return shapes[name][axis]

        return cls(
            video_width=size("video_input_proj.weight", 1),
            audio_width=size("audio_input_proj.weight", 1),
            width=size("video_input_proj.weight", 0),
            queries=size("attention_pooler.query_tokens", 0),
            heads=Section(config).section("duration_head").whole("num_pooler_heads", cls.heads),
            hidden_width=size("mlp_hidden.weight", 0),
        )
