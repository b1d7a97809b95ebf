"""LTX-2.0 from the prompt's text to frames and waveform: our pipeline against diffusers' own."""

import pytest

from ltx_duo.tests.parity.whole_run import diffusers_parts_2_0, diffusers_pipeline, our_pipeline
from ltx_duo.tests.parity.whole_run.conftest import TOKENIZER
from ltx_duo.tests.parity.whole_run.scene import EIGHT_BIT, bar, errors

DIFFUSERS = "diffusers 0.42.1"


@pytest.fixture(scope="module")
def parts(model_2_0):
    return diffusers_parts_2_0.read(model_2_0, TOKENIZER)


@pytest.mark.parametrize("pipeline", ["two-stage", "distilled"])
def test_whole_run(pipeline, parts, model_2_0, components_2_0, scenes, parity):
    scene, distilled = scenes["text"], pipeline == "distilled"
    reference = diffusers_pipeline.run_2_0(parts, None if distilled else model_2_0.lora, scene)
    # Diffusers modulates audio-video attention as the vendor's 1.0 did.
    ours = our_pipeline.run(
        components_2_0, model_2_0, scene, pipeline, stage_one_sound=not distilled, cross_timestep="other"
    )
    for name, expected in reference.items():
        row = f"whole run, {pipeline} of 2.0, text: {name}"
        if name == EIGHT_BIT:
            parity.add(f"{row} (levels of 255)", DIFFUSERS, errors(ours, reference)[name], bar(name))
        else:
            parity.check(row, DIFFUSERS, ours[name], expected, bar(name))
