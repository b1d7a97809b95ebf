"""From the prompt's text to a waveform without a picture: our pipeline against the vendor's, given the sound alone."""

from dataclasses import replace

import pytest

from ltx_duo.tests.parity.whole_run import our_pipeline, vendor_pipeline
from ltx_duo.tests.parity.whole_run.scene import bar, errors


@pytest.mark.parametrize("model", ["small_model", "model_2_0"])
def test_whole_sound(model, scenes, parity, request):
    files, scene = request.getfixturevalue(model), replace(scenes["text"], frames=25)
    expected = vendor_pipeline.run_sound_only(files, scene, newest=True)
    ours = our_pipeline.run_sound_only(files, scene)
    assert ours.keys() == expected.keys()
    what = "whole run, sound only" + (" of 2.0" if model == "model_2_0" else "")
    for name, error in errors(ours, expected).items():
        parity.add(f"{what}, text: {name}", "ltx-pipelines 1.0.0, sound only", error, bar(name))
