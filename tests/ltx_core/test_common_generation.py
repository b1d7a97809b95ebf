"""Files that are used together are of one generation, whichever of them differs."""

from itertools import permutations
from types import SimpleNamespace

import pytest

from ltx_duo.ltx_core.checkpoint import common_generation
from ltx_duo.ltx_core.errors import VariantError
from ltx_duo.ltx_core.generation import Generation


def file(name: str, generation: Generation | None) -> SimpleNamespace:
    return SimpleNamespace(path=f"{name}.safetensors", generation=generation, generation_name=str(generation))


@pytest.mark.parametrize("order", permutations(range(4)))
def test_one_that_differs_is_found_anywhere(order):
    files = [file("a", Generation.V2_3), file("b", Generation.V2_3), file("odd", Generation.V2_0), file("gemma", None)]
    with pytest.raises(VariantError, match="odd.safetensors"):
        common_generation(*(files[place] for place in order))
    assert common_generation(*(files[place] for place in order if place != 2)) is Generation.V2_3
