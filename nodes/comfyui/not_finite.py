"""Why a result holds NaN or infinity: what can cause it in this run, the surest first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ...ltx_core.errors import LTXError, NotFiniteError
from ...ltx_core.lora import LoRA, Strengths
from .flags import risky


@contextmanager
def explained(
    broken_weights: Callable[[], list[str]], in_fp8: bool, loras: Sequence[tuple[LoRA, Strengths]]
) -> Iterator[None]:
    """What the engine finds to be NaN inside becomes an error that says what can cause it here.

    `broken_weights` gives the names of weights that hold NaN, and is called only then.
    """
    try:
        yield
    except NotFiniteError as error:
        more = ("guidance scales that are far too high",)
        raise not_finite(error.found, broken_weights(), in_fp8, loras, more) from error


def not_finite(
    found: str,
    broken: Sequence[str],
    in_fp8: bool,
    loras: Sequence[tuple[LoRA, Strengths]] = (),
    more: Sequence[str] = (),
) -> LTXError:
    """The error that says what was `found` and what can cause it: `broken` weights for certain, else one of many."""
    if broken:
        return LTXError(
            f"{found} The weights hold NaN or infinity themselves: {', '.join(broken[:3])}. The file is damaged: "
            "download it again."
        )
    causes = [
        *(f"LoRA {lora.path.name} at strength {strengths.largest:g}" for lora, strengths in _strongest(loras)),
        *([f"ComfyUI's flags {', '.join(flags)}"] if (flags := risky()) else []),
        *(["weights in fp8 (set weight dtype to bf16, or use the bf16 file)"] if in_fp8 else []),
        *more,
        "inputs from other nodes that are NaN or extreme themselves",
        "a file that is damaged or of another model",
    ]
    return LTXError(f"{found} What can cause it: {'; '.join(causes)}. Change one after the other.")


def _strongest(loras: Sequence[tuple[LoRA, Strengths]]) -> list[tuple[LoRA, Strengths]]:
    return sorted(loras, key=lambda use: -abs(use[1].largest))
