"""What an IC-LoRA's metadata say of its reference, and that several agree."""

import pytest

from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.lora import LoRA, ReferenceFactors, common_reference_factors, reference_factors

SIZE, SPATIAL, TIME = "reference_downscale_factor", "reference_spatial_scale_factor", "reference_temporal_scale_factor"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, (1, 1)),
        ({SIZE: "2"}, (2, 1)),
        ({SIZE: "2.0"}, (2, 1)),
        ({SPATIAL: "4"}, (4, 1)),
        ({SPATIAL: "2", SIZE: "2", TIME: "8"}, (2, 8)),
        ({f"trainer.{SIZE}": "3"}, (3, 1)),
        ({TIME: "4"}, (1, 4)),
    ],
)
def test_factors(write, metadata, expected):
    assert reference_factors(LoRA.open(write(**metadata))) == ReferenceFactors(*expected)


@pytest.mark.parametrize("text", ["", "two", "0", "-1", "1.5", "nan", "inf", "[2]"])
@pytest.mark.parametrize("key", [SIZE, TIME])
def test_what_is_no_factor_is_refused(write, key, text):
    with pytest.raises(CheckpointError, match=f"lora.safetensors says {key} '.*', expected|expected a whole number"):
        reference_factors(LoRA.open(write(**{key: text})))


def test_several_agree_or_leave_it_open(write):
    plain, half, again = (LoRA.open(write(name=n, **m)) for n, m in (("a", {}), ("b", {SIZE: "2"}), ("c", {SIZE: "2"})))
    slow = LoRA.open(write(name="d", **{TIME: "4"}))
    assert common_reference_factors([plain, half, slow, again]) == ReferenceFactors(2, 4)
    assert common_reference_factors([]) == ReferenceFactors()


def test_two_factors_are_refused(write):
    half, quarter = (LoRA.open(write(name=f"of-{n}", **{SIZE: n})) for n in "24")
    with pytest.raises(VariantError, match="of-2.safetensors has reference_downscale_factor 2, of-4.safetensors has 4"):
        common_reference_factors([half, quarter])
