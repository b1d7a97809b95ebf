"""Files that are used together are of one generation, whichever of them differs."""

from itertools import permutations
from types import SimpleNamespace

import pytest

from ltx_duo.ltx_core.checkpoint import Variant, common_variant
from ltx_duo.ltx_core.errors import VariantError


def file(name: str, variant: Variant | None) -> SimpleNamespace:
    return SimpleNamespace(path=f"{name}.safetensors", variant=variant, generation=str(variant))


@pytest.mark.parametrize("order", permutations(range(4)))
def test_one_that_differs_is_found_anywhere(order):
    files = [file("a", Variant.V2_3), file("b", Variant.V2_3), file("odd", Variant.V2_0), file("gemma", None)]
    with pytest.raises(VariantError, match="odd.safetensors"):
        common_variant(*(files[place] for place in order))
    assert common_variant(*(files[place] for place in order if place != 2)) is Variant.V2_3
