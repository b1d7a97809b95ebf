"""From the prompt's text to frames and waveform: our pipeline against the vendor's own pipeline classes.

Untouched 1.0 where its behaviour is also ours (with two switches of ours: which timestep modulates audio-video
attention, and which sigma a sound that is given has), and 1.0 with v1.2's changes patched in, which our defaults
follow.
"""

import pytest

from ltx_duo.tests.parity.whole_run import our_pipeline
from ltx_duo.tests.parity.whole_run.scene import EIGHT_BIT, bar, errors

VENDOR, NEWEST = "ltx-pipelines 1.0.0", "ltx-pipelines 1.0.0 as v1.2"


@pytest.mark.parametrize(
    ("pipeline", "scene", "newest"),
    [
        ("two-stage", "text", False),
        ("two-stage", "text", True),
        ("two-stage", "image", False),
        ("two-stage", "image", True),
        ("two-stage", "image and keyframe", True),
        ("distilled", "text", False),
        ("distilled", "image and keyframe", True),
        ("HQ", "text", False),
        ("HQ", "image and keyframe", True),
        ("keyframes", "image", False),
        ("keyframes", "image and keyframe", True),
        ("one stage", "text", False),
        ("one stage", "image and keyframe", True),
        ("sound-given", "sound", False),
        ("sound-given", "sound", True),
        ("sound-given", "sound, image and keyframe", True),
        ("IC-LoRA", "reference", False),
        ("IC-LoRA", "reference", True),
        ("IC-LoRA", "two references", True),
        ("IC-LoRA", "two references, weaker attention", True),
        ("IC-LoRA", "soft reference, attention mask, image and keyframe", True),
        ("retake", "film", False),
        ("retake", "film", True),
        ("distilled retake", "film", False),
        ("distilled retake", "film, new picture", False),
        ("distilled retake", "film, new picture", True),
        ("distilled retake", "film, new sound", False),
        ("distilled retake", "film, new sound", True),
    ],
)
def test_whole_run(pipeline, scene, newest, small_model, scenes, vendor_trace, components, parity):
    check(pipeline, scene, newest, (components, small_model, scenes), vendor_trace, parity)


@pytest.mark.parametrize(
    ("pipeline", "scene", "newest"),
    [
        ("two-stage", "text", False),
        ("two-stage", "text", True),
        ("two-stage", "image", False),
        ("two-stage", "image and keyframe", True),
        ("distilled", "image and keyframe", True),
        ("sound-given", "sound", True),
        ("retake", "film", True),
    ],
)
def test_whole_run_of_2_0(pipeline, scene, newest, model_2_0, scenes, vendor_trace_2_0, components_2_0, parity):
    check(pipeline, scene, newest, (components_2_0, model_2_0, scenes), vendor_trace_2_0, parity, " of 2.0")


def check(pipeline, scene, newest, setting, vendor_trace, parity, of="") -> None:
    components, model, scenes = setting
    reference = vendor_trace(pipeline, scene, newest)
    ours = our_pipeline.run(
        components,
        model,
        scenes[scene],
        pipeline,
        cross_timestep="own" if newest else "other",
        given_sigma="0" if newest else "the stage's",
        # These decode stage two's sound in every version.
        stage_one_sound=newest and pipeline not in ("distilled", "keyframes", "IC-LoRA"),
    )
    for name, expected in reference.items():
        what = f"whole run, {pipeline}{of}, {scene}: {name}"
        vendor = NEWEST if newest else VENDOR
        if name == EIGHT_BIT:
            parity.add(f"{what} (levels of 255)", vendor, errors(ours, reference)[name], bar(name))
        else:
            parity.check(what, vendor, ours[name], expected, bar(name))
