"""Preflight of a sound that is given: one in a chain, encoded by a VAE that can, counted at the film's frame rate."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO, IMAGE, SOUND = (
    "LTXDuoStageOneSampler",
    "LTXDuoStageTwoSampler",
    "LTXDuoImageCondition",
    "LTXDuoSoundCondition",
)


def with_sound(name: str = "text-to-video", both: bool = True, **inputs) -> tuple[Scene, list]:
    scene = Scene(name)
    before = {} if name == "text-to-video" else {"conditions": scene.link(IMAGE)}
    link = scene.add(SOUND, **{"audio": ["99", 0], "start": 0.0, "fps": 24.0, **before, **inputs})
    scene.set(ONE, conditions=link)
    return (scene.set(TWO, conditions=link) if both else scene), link


@pytest.mark.parametrize("both", [True, False])
def test_a_sound_in_stage_one_is_enough(both):
    assert with_sound(both=both)[0].report() == Report()


def test_a_sound_does_not_stand_for_an_image():
    assert with_sound("image-to-video")[0].report() == Report()
    # Stage two has the chain's image alone, stage one both; then the other way round.
    scene, link = with_sound("image-to-video", both=False)
    assert scene.report() == Report()
    scene.set(TWO, conditions=scene.add(SOUND, audio=["99", 0]))
    assert "image is lost" in scene.warnings()[TWO]


def test_a_sound_in_stage_two_alone():
    scene, link = with_sound()
    scene.cut(ONE, "conditions")
    assert "Only stage two is given the sound" in scene.warnings()[TWO]


def test_two_sounds_in_a_chain():
    scene, link = with_sound()
    last = scene.add(SOUND, audio=["99", 0], conditions=link)
    scene.set(ONE, conditions=last).set(TWO, conditions=last)
    ((name, messages),) = scene.report().wrong.items()
    assert name == last[0] and list(messages) == ["audio"] and "2 sounds" in messages["audio"]


def test_a_vae_that_cannot_encode_sound():
    scene, _ = with_sound()
    scene.files.hears = False
    ((name, messages),) = scene.report().wrong.items()
    assert scene.prompt[name]["class_type"] == "LTXDuoVAELoader"
    assert list(messages) == ["audio_file"] and "no audio VAE encoder" in messages["audio_file"]
    scene = Scene("text-to-video")
    scene.files.hears = False
    assert scene.report() == Report(), "nothing is encoded"


@pytest.mark.parametrize("loader", ["CheckpointLoaderSimple", "VAELoader"])
def test_comfyuis_own_vae_encodes_no_sound(loader):
    scene, _ = with_sound()
    vae = [scene.add(loader, ckpt_name="x", vae_name="x")[0], 2 if loader == "CheckpointLoaderSimple" else 0]
    messages = scene.set(ONE, vae=vae).report().wrong
    ((name, found),) = ((name, found) for name, found in messages.items() if "vae" in found)
    assert scene.prompt[name]["class_type"] == ONE and "audio_vae of LTX Sound Condition" in found["vae"]
    encoder = [scene.add("LTXVAudioVAELoader", ckpt_name="x")[0], 0]
    assert scene.set("LTXDuoSoundCondition", audio_vae=encoder).report().wrong == {}


def test_a_given_sound_needs_no_audio_vae_to_come_out():
    scene, _ = with_sound()
    scene.set("LTXDuoAVDecode", vae=[scene.add("VAELoader", vae_name="x")[0], 0])
    assert scene.report().wrong == {}
    scene.cut(ONE, "conditions").cut(TWO, "conditions")
    assert list(scene.report().wrong) == [scene.link("LTXDuoAVDecode")[0]]


@pytest.mark.parametrize(("counted", "made", "told"), [(24.0, 24, False), (25.0, 24.0, True), (24.0, ["98", 0], False)])
def test_frames_are_counted_at_the_films_rate(counted, made, told):
    scene, link = with_sound(fps=counted)
    scene.set(ONE, frames=[link[0], 1], fps=made)
    report = scene.report()
    assert not report.errors and bool(report.warnings) == told
    assert all("25 a second" in text and "Set fps to 24" in text for _, text in report.warnings)


def test_the_real_files_are_asked(rewritten, names):
    from ltx_duo.ltx_core.checkpoint import Component
    from ltx_duo.nodes.comfyui.prompt_hook import OpenedFiles
    from ltx_duo.nodes.prompt_graph import Node

    def drop(tensors, _):
        for name in [name for name in tensors if name.startswith("audio_vae.encoder.")]:
            del tensors[name]

    changed = rewritten("checkpoints", names.checkpoint, drop)
    for video, audio, hears in (
        (names.checkpoint, "same file", True), (changed, "same file", False), (names.checkpoint, changed, False),
        (changed, names.checkpoint, True),
    ):  # fmt: skip
        loader = Node("1", "LTXDuoVAELoader", {"checkpoint": video, "audio_file": audio})
        assert (Component.AUDIO_ENCODER in OpenedFiles().audio_vae(loader).components) == hears
    assert OpenedFiles().audio_vae(Node("1", "LTXDuoVAELoader", {"checkpoint": "gone", "audio_file": ["2", 0]})) is None
