"""Preflight on time: where images are placed, and one frame rate from the sampler to the film."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO, CONDITION = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoImageCondition"


def placed(*frames, total: object = 17) -> tuple[Scene, list[str]]:
    """A scene with a chain of image conditions, and their ids, the first one first."""
    scene = Scene("image-to-video").set(ONE, frames=total)
    link, ids = None, []
    for frame in frames:
        link = scene.add(CONDITION, frame=frame, strength=1.0, crf=-1, **({"conditions": link} if link else {}))
        ids.append(link[0])
    return scene.set(ONE, conditions=link).set(TWO, conditions=link), ids


@pytest.mark.parametrize("frames", [(16, -1), (-1, 16), (0, -17), (8, -9), (5, 5), (0, 8, -9)])
def test_two_images_on_one_frame(frames):
    scene, ids = placed(*frames)
    ((name, messages),) = scene.report().wrong.items()
    assert name == ids[-1] and list(messages) == ["frame"]
    text = messages["frame"]
    assert f"frame {frames[-1] % 17}" in text and "its own frame" in text
    assert str(frames[-2]) in text and str(frames[-1]) in text


@pytest.mark.parametrize("frames", [(0, 16), (0, -1), (-17, 1), (15, -1), (0, 8, -1)])
def test_images_on_frames_of_their_own(frames):
    assert placed(*frames)[0].report() == Report()


def test_one_number_twice_is_one_frame_of_any_video():
    assert list(placed(16, -1, total=["99", 0])[0].report().errors) == []
    scene, ids = placed(4, 4, total=["99", 0])
    assert list(scene.report().errors) == ids[1:]


@pytest.mark.parametrize(
    ("frame", "fits"), [(120, True), (121, False), (-121, True), (-122, False), (0, True), (-1, True)]
)
def test_image_inside_the_video(frame, fits):
    report = Scene("image-to-video").set(CONDITION, frame=frame).report()
    assert (report.errors == {}) == fits
    assert all(str(frame) in text for text in report.errors.values())


def test_image_outside_a_saved_latent():
    scene = Scene("continue-from-preview")
    scene.set(TWO, conditions=scene.add(CONDITION, frame=17, strength=1.0, crf=-1))
    scene.files.saved = (1, 128, 3, 16, 24)
    ((name, text),) = scene.report().errors.items()
    assert scene.prompt[name]["class_type"] == CONDITION and "17 frames" in text
    assert scene.set(CONDITION, frame=-17).report() == Report()


@pytest.mark.parametrize(("node_type", "slot"), [("CreateVideo", "fps"), ("VHS_VideoCombine", "frame_rate")])
@pytest.mark.parametrize("rate", [30.0, 25, 48.0, 23.976])
def test_film_of_another_rate(node_type, slot, rate):
    scene = Scene("mixed-with-native").cut("SaveVideo", "video")
    frames = [scene.link("LTXDuoAVDecode")[0], 1]
    scene.add(node_type, images=frames, **{slot: rate})
    warning = scene.warnings()[node_type]
    assert "24" in warning and f"{rate:g}" in warning and f"Set {slot}" in warning
    scene.set(node_type, **{slot: 24})
    assert scene.report() == Report()


def test_film_of_interpolated_frames():
    """A node between that makes every frame two gives a film of twice the rate."""
    scene = Scene("mixed-with-native")
    more = scene.add("RIFE VFI", frames=[scene.link("LTXDuoAVDecode")[0], 1], multiplier=2)
    scene.set("CreateVideo", images=more, fps=48)
    assert scene.report() == Report()
    assert "CreateVideo" in scene.set("CreateVideo", fps=30).warnings()


@pytest.mark.parametrize("slot", ["positive", "negative"])
@pytest.mark.parametrize("sampler", [ONE, TWO])
def test_conditioning_of_another_rate(slot, sampler):
    scene = Scene("text-to-video")
    text = scene.link("LTXDuoTextEncode")
    timed = scene.add("LTXVConditioning", positive=text, negative=text, frame_rate=25.0)
    scene.set(sampler, **{slot: timed})
    warning = scene.warnings()["LTXVConditioning"]
    assert "25" in warning and "24" in warning
    assert scene.set("LTXVConditioning", frame_rate=24).report() == Report()


def test_conditioning_gives_the_rate_of_a_latent_that_has_none():
    scene = Scene("continue-from-preview")
    text = scene.link("LTXDuoTextEncode")
    scene.set(TWO, positive=scene.add("LTXVConditioning", positive=text, negative=text, frame_rate=25.0))
    assert scene.report() == Report()
