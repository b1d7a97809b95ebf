"""The duration head's sizes, read from a checkpoint's config."""

from dataclasses import dataclass

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
    def from_config(cls, config: dict) -> "DurationHeadParams":
        """Reads the sections `transformer` and `duration_head`; either may be missing, as may each of their keys.

        Published files say nothing of the head: what is missing takes the vendor's defaults.
        """
        whole = Section(config)
        transformer, head = whole.section("transformer"), whole.section("duration_head")
        return cls(
            video_width=transformer.whole("cross_attention_dim", 4096),
            audio_width=transformer.whole("audio_cross_attention_dim", 2048),
            width=head.whole("pooler_hidden_dim", 256),
            queries=head.whole("num_queries", 1),
            heads=head.whole("num_pooler_heads", 4),
            hidden_width=head.whole("mlp_hidden", 256),
        )
