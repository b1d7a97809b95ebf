"""Which generations of LTX-2 come from ComfyUI's own loaders too; the others from the pack's alone."""

from ..ltx_core.generation import Generation
from ..ltx_core.variants import is_run

GENERATIONS = (Generation.V2_3, Generation.V2_0)
NAMES = " and ".join(map(str, GENERATIONS))


def is_taken(generation: Generation | None) -> bool:
    """Whether ComfyUI's object of a generation is taken; one that tells none is."""
    return generation is None or generation in GENERATIONS


def refusal(generation: Generation | None) -> str:
    """How a sentence on an object that is not taken goes on."""
    return "LTX Duo takes from its own loaders alone" if is_run(generation) else "LTX Duo does not run"
