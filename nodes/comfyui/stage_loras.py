"""Which of a stage's LoRAs are laid over the weights, and which stand beside weights that both stages share."""

from collections.abc import Callable, Sequence

from ...ltx_core.lora import LoRA, Strengths
from .fitting import available_memory
from .lora import with_factors, with_loras
from .memory import PatchedModule

Acting = Sequence[tuple[LoRA, Strengths]]
# Returns what was kept under a name, or keeps what the function builds.
Kept = Callable[[str, Callable[[], PatchedModule]], PatchedModule]

# Changing 22B weights takes 1.3 to 2.8 s, and as long again for the next film; a LoRA at each use takes 0.1 s a step.
FEW_STEPS = 8
# What weights, and LoRAs beside them, may take of the memory that is available; the rest is the activations'.
SHARE = 0.8


def with_stage_loras(
    name: str,
    base: PatchedModule,
    active: Acting,
    others: Acting,
    wanted: Callable[[str], bool],
    steps: int | None,
    kept: Kept,
) -> PatchedModule:
    """`base`, kept by `name`, with the `wanted` layers, by their names, of the `active` LoRAs.

    In a stage of so few `steps` (None: not known) those stand beside it that the other stage has not, or not at the
    same strengths: it has the `others`.
    """
    for lora, _ in active:
        lora.file.check_not_written_over()

    def laid(name: str, base: PatchedModule, loras: Acting, way: Callable) -> PatchedModule:
        if not loras:
            return base
        fitted = [(lora.only([*filter(wanted, lora.layers)]), strengths) for lora, strengths in loras]
        key = name + repr([(str(lora.path), strengths) for lora, strengths in fitted])
        return kept(key, lambda: way(base, fitted))

    own = [use for use in active if use not in others]
    if steps is None or not better_beside(base, own, steps):
        return laid(name, base, active, with_loras)
    shared = laid(name, base, [use for use in active if use in others], with_loras)
    return laid(f"{name} beside", shared, own, with_factors)


def better_beside(component: PatchedModule, loras: Acting, steps: int) -> bool:
    """Whether so few steps are made sooner with these LoRAs beside the component, over which they could be laid.

    Not where they would drive weights off the device, nor where a weight that is changed at each use loses its fast
    product: float8 and packed ones.
    """
    plain = not component.in_fp8 and component.expanding_bytes == 0
    if not (loras and component.is_dynamic() and plain and steps <= FEW_STEPS):
        return False
    size = component.size() + sum(lora.size for lora, _ in loras)
    return size <= SHARE * available_memory(component)
