"""Dev or distilled, by the words of a file's name."""

import pytest

from ltx_duo.ltx_core.variants import Kind, kind_of_name


@pytest.mark.parametrize(
    "name",
    [
        "ltx-2.3-22b-distilled.safetensors",
        "ltx-2.3-22b-distilled-1.1.safetensors",
        "ltx-2.3-22b-distilled-lora-384-1.1.safetensors",
        "ltx-2.3-22b-distilled-fp8.safetensors",
        "LTX-2.3_DISTILLED.safetensors",
        "ltx2.3 distil.safetensors",
        "ltx-2.3-distill-bf16.safetensors",
        "LTX23Distilled.safetensors",
        "ltx23_distilledv2.safetensors",
        "ltx-2.3-22b-distilled8.safetensors",
        "ltx-2.3-dev-distilled-merge.safetensors",
        "undistilled/ltx-2.3-distilled.safetensors",
        "dev\\ltx-2.3-distilled.safetensors",
        "non-distilled-base-distilled.safetensors",
    ],
)
def test_distilled(name):
    assert kind_of_name(name) is Kind.DISTILLED


@pytest.mark.parametrize(
    "name",
    [
        "ltx-2.3-22b-dev.safetensors",
        "ltx-2.3-22b-dev-fp8.safetensors",
        "distilled/ltx-2.3-22b-dev.safetensors",
        "distilled\\my-model.safetensors",
        "ltx-2.3-undistilled.safetensors",
        "ltx-2.3-UnDistilled.safetensors",
        "ltx-2.3-non-distilled.safetensors",
        "ltx-2.3-not_distilled.safetensors",
        "ltx-2.3-nondistilled.safetensors",
        "ltx-2.3-de-distilled.safetensors",
        "ltx-2.3-without-distil.safetensors",
        "distillery-style.safetensors",
        "distillation-study.safetensors",
        "",
    ],
)
def test_dev(name):
    assert kind_of_name(name) is Kind.DEV
