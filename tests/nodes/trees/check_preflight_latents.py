"""Preflight on what the stages start from: latents, batches, saved files, noise schedules."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
HALF = {"width": 768, "height": 512, "length": 121, "batch_size": 1}  # of stage one in text-to-video
PARTLY = "0.725, 0.421875, 0"


def told(scene: Scene) -> list[str]:
    """All warnings on either sampler."""
    report = scene.report()
    assert report.errors == {}
    return [text for node, text in report.warnings if node.type in (ONE, TWO)]


def refused(scene: Scene) -> tuple[str, str, str]:
    """The one node with an error, the input that it is on, and the message."""
    ((name, messages),) = scene.report().wrong.items()
    ((slot, text),) = messages.items()
    return scene.prompt[name]["class_type"], slot, text


@pytest.mark.parametrize("stretch", [None, "LTXVScheduler", "1, 0.5, 0"])
def test_start_latent_that_noise_replaces(stretch):
    scene = Scene("text-to-video")
    scene.set(ONE, latent=scene.add("LTXDuoLoadLatent", file="a.latent [output]"))
    if stretch:
        node = ("LTXVScheduler", {}) if stretch == "LTXVScheduler" else ("ManualSigmas", {"sigmas": stretch})
        scene.set(ONE, sigmas=scene.add(node[0], **node[1]))
    (text,) = told(scene)
    assert "nothing of the connected latent" in text and "below 1" in text and "'sigmas'" in text


def test_start_latent_that_stays():
    scene = Scene("text-to-video")
    scene.set(ONE, latent=scene.add("LTXDuoLoadLatent", file="a.latent [output]"))
    scene.set(ONE, sigmas=scene.add("ManualSigmas", sigmas=PARTLY))
    assert scene.report() == Report()
    # A schedule of another node is known when it runs.
    assert scene.set(ONE, sigmas=["99", 0]).report() == Report()


@pytest.mark.parametrize("text, words", [("1..0, 0.5, 0", "'1..0', which is no number"), ("1.0, 0..5, 0", "'0..5'")])
def test_sigmas_that_core_cannot_read(text, words):
    scene = Scene("text-to-video")
    scene.set(TWO, sigmas=scene.add("ManualSigmas", sigmas=text))
    assert words in scene.errors()[TWO]


def test_empty_start_latent_loses_nothing():
    scene = Scene("text-to-video")
    empty = scene.add("EmptyLTXVLatentVideo", **HALF)
    assert scene.set(ONE, latent=empty).report() == Report()
    sound = scene.add("LTXVEmptyLatentAudio", frames_number=121, frame_rate=24, batch_size=1)
    both = scene.add("LTXVConcatAVLatent", video_latent=empty, audio_latent=sound)
    assert scene.set(ONE, latent=both).report() == Report()


def test_stage_two_that_begins_anew():
    scene = Scene("text-to-video")
    scene.set(TWO, sigmas=scene.add("ManualSigmas", sigmas="1.0, 0.725, 0"))
    (text,) = told(scene)
    assert "nothing of the connected latent" in text


def test_sigmas_below_1_without_a_latent():
    scene = Scene("text-to-video")
    scene.set(ONE, sigmas=scene.add("ManualSigmas", sigmas=PARTLY))
    (text,) = told(scene)
    assert "0.725" in text and "noise alone" in text


@pytest.mark.parametrize("sampler", [ONE, TWO])
def test_sigmas_that_do_not_end_at_0(sampler):
    scene = Scene("text-to-video")
    first = 1 if sampler == ONE else 0.9
    scene.set(sampler, sigmas=scene.add("ManualSigmas", sigmas=f"{first}, 0.5, 0.25"))
    (text,) = told(scene)
    assert "end at 0.25" in text and "keeps noise" in text


@pytest.mark.parametrize("sampler", [ONE, TWO])
@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("ManualSigmas", {"sigmas": "14.6, 1, 0"}, ["14.6", "[0, 1]", "flow"]),
        ("ManualSigmas", {"sigmas": "0, 0.5, 1"}, ["fall"]),
        ("ManualSigmas", {"sigmas": ""}, ["at least two"]),
        ("ManualSigmas", {"sigmas": "1"}, ["at least two"]),
        ("KarrasScheduler", {"steps": 20, "sigma_max": 14.614642, "sigma_min": 0.03, "rho": 7.0}, ["14.6", "flow"]),
        ("ExponentialScheduler", {"steps": 20, "sigma_max": 1.5, "sigma_min": 0.03}, ["1.5", "flow"]),
    ],
)
def test_schedules_that_no_flow_model_has(sampler, node, inputs, words):
    scene = Scene("text-to-video")
    scene.set(sampler, sigmas=scene.add(node, **inputs))
    where, slot, text = refused(scene)
    assert (where, slot) == (sampler, "sigmas")
    assert all(word in text for word in words)


@pytest.mark.parametrize("change", [{"width": 1536}, {"height": 1024}, {"length": 97}])
def test_start_latent_of_another_size(change):
    scene = Scene("text-to-video")
    scene.set(ONE, latent=scene.add("EmptyLTXVLatentVideo", **{**HALF, **change}))
    where, slot, text = refused(scene)
    assert (where, slot) == (ONE, "latent")
    assert str(next(iter(change.values()))) in text and "768x512 pixels and 121 frames" in text


def test_saved_start_latent_of_another_size():
    scene = Scene("text-to-video")
    scene.set(ONE, latent=scene.add("LTXDuoLoadLatent", file="a.latent [output]"))
    scene.set(ONE, sigmas=scene.add("ManualSigmas", sigmas=PARTLY))
    scene.files.saved = (1, 128, 16, 16, 24)
    assert scene.report() == Report()
    scene.files.saved = (1, 128, 16, 32, 48)
    where, slot, text = refused(scene)
    assert (where, slot) == (ONE, "latent") and "1536x1024 pixels" in text


def batch(scene: Scene, kind: str, size: int) -> list:
    """A link to a batch of latents."""
    video = scene.add("EmptyLTXVLatentVideo", **{**HALF, "batch_size": size if kind == "video" else 1})
    sound = scene.add(
        "LTXVEmptyLatentAudio", frames_number=121, frame_rate=24, batch_size=size if kind == "sound" else 1
    )
    if kind == "repeated":
        return scene.add("RepeatLatentBatch", samples=video, amount=size)
    if kind == "image":
        return scene.add("LTXVImgToVideo", **{**HALF, "batch_size": size})
    return scene.add("LTXVConcatAVLatent", video_latent=video, audio_latent=sound)


@pytest.mark.parametrize("sampler", [ONE, TWO])
@pytest.mark.parametrize("kind", ["video", "sound", "repeated", "image"])
def test_batch_of_latents(sampler, kind):
    scene = Scene("text-to-video").set(ONE, latent=["99", 0])
    scene.set(sampler, latent=batch(scene, kind, 4))
    where, slot, text = refused(scene)
    assert (where, slot) == (sampler, "latent")
    assert "batch of 4" in text and "LatentFromBatch" in text
    scene.set(sampler, latent=batch(scene, kind, 1))
    assert scene.report().errors == {}


def test_batch_that_the_upsampler_passes_on():
    scene = Scene("text-to-video").set("LTXDuoLatentUpsampler", latent=["99", 0])
    scene.set("LTXDuoLatentUpsampler", latent=batch(scene, "repeated", 2))
    assert refused(scene)[:2] == (TWO, "latent")


def test_batch_that_is_saved_on_the_way():
    scene = Scene("text-to-video").set(ONE, latent=["99", 0])
    scene.set(ONE, latent=scene.add("LTXDuoSaveLatent", latent=batch(scene, "video", 2)))
    assert refused(scene)[:2] == (ONE, "latent")


def test_one_of_a_batch():
    scene = Scene("text-to-video")
    scene.set(ONE, latent=scene.add("LatentFromBatch", samples=batch(scene, "video", 4), batch_index=2, length=1))
    assert scene.report().errors == {}
    several = scene.add("RepeatLatentBatch", samples=["99", 0], amount=3)
    assert "batch of 3" in refused(scene.set(ONE, latent=several))[2]
    more = scene.add("RepeatLatentBatch", samples=several, amount=2)
    assert "batch of 6" in refused(scene.set(ONE, latent=more))[2]


def test_saved_batch():
    scene = Scene("continue-from-preview")
    scene.files.saved = (4, 128, 16, 16, 24)
    assert refused(scene)[0] == TWO


@pytest.mark.parametrize(
    ("shape", "half"),
    [
        ((1, 128, 16, 15, 24), True),  # 480 pixels high: no enlarged latent is
        ((1, 128, 16, 16, 25), True),
        ((1, 128, 16, 32, 48), False),
        ((1, 128, 16, 16, 24), False),  # may be either
        (None, False),
    ],
)
def test_saved_latent_before_stage_two(shape, half):
    scene = Scene("continue-from-preview")
    scene.files.saved = shape
    assert scene.report() == Report()
    texts = told(scene.set(TWO, latent=scene.link("LTXDuoLoadLatent")))
    assert ["half size" in text for text in texts] == [True] * half


@pytest.mark.parametrize("between", [[], ["LTXDuoSaveLatent"], ["LTXVSeparateAVLatent", "LTXVConcatAVLatent"]])
def test_latent_that_was_not_upsampled(between):
    slots = {"LTXDuoSaveLatent": "latent", "LTXVSeparateAVLatent": "av_latent", "LTXVConcatAVLatent": "video_latent"}
    scene = Scene("text-to-video")
    link = scene.link(ONE)
    for node_type in between:
        link = scene.add(node_type, **{slots[node_type]: link})
    (text,) = told(scene.set(TWO, latent=link))
    assert "half size" in text and "LTX Latent Upsampler" in text


def test_latent_that_was_upsampled_twice():
    scene = Scene("text-to-video")
    once = scene.link("LTXDuoLatentUpsampler")
    twice = scene.add("LTXDuoLatentUpsampler", latent=once)
    (text,) = told(scene.set(TWO, latent=twice))
    assert "twice" in text and "one LTX Latent Upsampler" in text


def test_what_another_node_enlarged_is_not_half_size():
    scene = Scene("text-to-video")
    assert scene.set(TWO, latent=scene.add("Enlarge", latent=scene.link(ONE))).report() == Report()


def test_upsampler_before_stage_one_is_not_the_second():
    scene = Scene("text-to-video")
    start = scene.add("LTXDuoLatentUpsampler", latent=scene.add("LTXDuoLoadLatent", file="a.latent [output]"))
    scene.set(ONE, latent=start, sigmas=scene.add("ManualSigmas", sigmas=PARTLY))
    assert scene.report() == Report()


@pytest.mark.parametrize("loop", ["LTXVConcatAVLatent", "RepeatLatentBatch", "LTXDuoLatentUpsampler"])
def test_latents_in_a_circle_do_no_harm(loop):
    scene = Scene("text-to-video")
    link = scene.add(loop, latent=["99", 0])
    scene.prompt[link[0]]["inputs"] = dict.fromkeys(("latent", "samples", "video_latent", "audio_latent"), link)
    assert scene.set(TWO, latent=link).report().errors == {}
