import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.schedule import (
    DISTILLED_STAGE_ONE,
    STAGE_TWO,
    begins_with_noise,
    checked_sigmas,
    ltx2_sigmas,
    partial_sigmas,
)

GOLDEN_8 = (1, 0.965712, 0.921875, 0.863856, 0.783445, 0.664579, 0.471003, 0.1, 0)
GOLDEN_HQ_15 = (
    1, 0.993491, 0.986015, 0.977340, 0.967151, 0.955015, 0.940314, 0.922140, 0.899096, 0.868923, 0.827707, 0.768028,
    0.673897, 0.503378, 0.1, 0,
)  # fmt: skip


def test_golden_values():
    assert ltx2_sigmas(8).tolist() == pytest.approx(GOLDEN_8, abs=2e-6)
    assert ltx2_sigmas(15, tokens=8160).tolist() == pytest.approx(GOLDEN_HQ_15, abs=2e-6)
    thirty = ltx2_sigmas(30).tolist()
    assert thirty[1:4] == pytest.approx([0.994957, 0.989603, 0.983908], abs=2e-6)
    assert thirty[-4:] == pytest.approx([0.387541, 0.266120, 0.1, 0], abs=2e-6)


@given(steps=st.integers(2, 120), tokens=st.integers(16, 16384))
def test_falls_from_one_to_a_tenth_and_then_to_zero(steps, tokens):
    sigmas = ltx2_sigmas(steps, tokens)
    assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
    assert sigmas[0].item() == pytest.approx(1, abs=1e-4) and sigmas[0] <= 1
    assert (sigmas[1:] < sigmas[:-1]).all()
    assert sigmas[-2].item() == pytest.approx(0.1, abs=1e-6) and sigmas[-1] == 0


@given(steps=st.integers(2, 60), tokens=st.integers(256, 9000))
def test_equals_the_formula_in_float64(steps, tokens):
    shift = tokens * 1.1 / 3072 + 0.95 - 1024 * 1.1 / 3072
    shifted = [math.exp(shift) / (math.exp(shift) + steps / (steps - i) - 1) for i in range(steps)]
    expected = [1 - (1 - s) * 0.9 / (1 - shifted[-1]) for s in shifted] + [0]
    assert ltx2_sigmas(steps, tokens).tolist() == pytest.approx(expected, abs=1e-5)


def test_one_step_and_none():
    assert ltx2_sigmas(1).tolist() == [1, 0]
    with pytest.raises(LTXError, match="steps is 0"):
        ltx2_sigmas(0)


def test_fixed_schedules():
    assert len(DISTILLED_STAGE_ONE) == 9 and len(STAGE_TWO) == 4
    assert DISTILLED_STAGE_ONE[-4:] == STAGE_TWO
    for values in (DISTILLED_STAGE_ONE, STAGE_TWO):
        sigmas = checked_sigmas(values)
        assert sigmas.dtype == torch.float32 and sigmas.tolist() == torch.tensor(values).tolist()


@pytest.mark.parametrize(
    "sigmas, complaint",
    [
        ([1.0, 0.5, 0.5, 0.0], "do not fall"),
        ([0.0, 1.0], "do not fall"),
        ([1.0, float("nan"), 0.0], "do not fall"),
        ([14.6, 1.0, 0.0], "leave"),
        ([1.0, 0.0, -0.1], "leave"),
        ([14.6, 20.0, 0.0], "flow model"),
        ([1.0], "at least two"),
        ([], "at least two"),
        ([[1.0, 0.0]], "one row"),
    ],
)
def test_schedules_that_cannot_be_followed_are_refused(sigmas, complaint):
    with pytest.raises(LTXError, match=complaint):
        checked_sigmas(torch.tensor(sigmas))


@pytest.mark.parametrize("sigmas", ["karras", None, {"sigmas": 1}, [1.0, "half", 0.0]])
def test_sigmas_that_are_no_numbers_are_refused(sigmas):
    with pytest.raises(LTXError, match="expected numbers such as 1, 0.5, 0"):
        checked_sigmas(sigmas)


@given(steps=st.integers(1, 60), denoise=st.floats(1e-3, 1))
def test_a_part_of_a_schedule_is_its_end(steps, denoise):
    """As many steps as ComfyUI's SplitSigmasDenoise leaves, but one at least."""
    sigmas = ltx2_sigmas(steps)
    part = partial_sigmas(sigmas, denoise)
    assert len(part) - 1 == max(1, round(steps * denoise)) and torch.equal(part, sigmas[len(sigmas) - len(part) :])


def test_denoise_is_a_share():
    assert torch.equal(partial_sigmas(torch.tensor(DISTILLED_STAGE_ONE), 1.0), torch.tensor(DISTILLED_STAGE_ONE))
    for denoise in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(LTXError, match=f"denoise is {denoise}, expected above 0 .* up to 1"):
            partial_sigmas(ltx2_sigmas(8), denoise)


@given(steps=st.integers(1, 60))
def test_whole_schedules_begin_with_noise_alone(steps):
    """Computed ones a rounding below 1, where a film would shine through; those that leave a part out do not."""
    assert begins_with_noise(ltx2_sigmas(steps)) and begins_with_noise(torch.tensor(DISTILLED_STAGE_ONE))
    for part in (DISTILLED_STAGE_ONE[1:], STAGE_TWO):
        assert not begins_with_noise(torch.tensor(part))
