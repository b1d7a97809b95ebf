"""Preflight of a film that is given: one in a chain, and nothing beside it that it leaves no room for."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO, IMAGE, SOUND = (
    "LTXDuoStageOneSampler",
    "LTXDuoStageTwoSampler",
    "LTXDuoImageCondition",
    "LTXDuoSoundCondition",
)
FILM, RETAKE, EXTEND, REGION = "LTXDuoFilmSound", "LTXDuoRetake", "LTXDuoExtend", "LTXDuoRegion"
KINDS = (FILM, RETAKE, EXTEND, REGION)


def with_film(kind: str = RETAKE, name: str = "text-to-video", both: bool = True, **inputs) -> tuple[Scene, list]:
    scene = Scene(name)
    before = {} if name == "text-to-video" else {"conditions": scene.link(IMAGE)}
    link = scene.add(kind, **{"video": ["99", 0], **before, **inputs})
    scene.set(ONE, conditions=link)
    return (scene.set(TWO, conditions=link) if both else scene), link


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [True, False])
def test_one_film_is_well(kind, both):
    """Stage two has it from stage one's latent where its own chain has none."""
    assert with_film(kind, both=both)[0].report() == Report()


@pytest.mark.parametrize("kind", KINDS)
def test_two_films_in_a_chain(kind):
    scene, link = with_film()
    last = scene.add(kind, video=["98", 0], conditions=link)
    scene.set(ONE, conditions=last).set(TWO, conditions=last)
    ((name, messages),) = scene.report().wrong.items()
    assert name == last[0] and "2 films" in messages["video"]


@pytest.mark.parametrize(
    ("kind", "inputs", "kept"),
    [
        (FILM, {}, True),
        (RETAKE, {"remake": "sound"}, True),
        (RETAKE, {"remake": "picture"}, False),
        (EXTEND, {}, False),
    ],
)
def test_nothing_goes_into_a_picture_that_is_kept(kind, inputs, kept):
    scene, link = with_film(kind, "image-to-video", **inputs)
    wrong = scene.report().wrong
    assert (list(wrong) == [scene.link(IMAGE)[0]]) == kept == bool(wrong)
    scene, link = with_film(kind, **inputs)
    sound = scene.add(SOUND, audio=["97", 0], conditions=link)
    wrong = scene.set(ONE, conditions=sound).set(TWO, conditions=sound).report().wrong
    assert (list(wrong) == [sound[0]]) == kept == bool(wrong)


def test_stage_one_begins_from_a_latent_or_from_a_film():
    scene, _ = with_film()
    latent = scene.add("VAEEncode")
    ((name, messages),) = scene.set(ONE, latent=latent).report().wrong.items()
    assert list(messages) == ["latent"] and scene.prompt[name]["class_type"] == ONE


@pytest.mark.parametrize(("kind", "told"), [(EXTEND, True), (RETAKE, False)])
def test_what_is_added_is_made_from_noise_alone(kind, told):
    scene, _ = with_film(kind)
    wrong = scene.set(ONE, denoise=0.5).report().wrong
    assert [list(messages) for messages in wrong.values()] == ([["denoise"]] if told else [])


def test_denoise_without_anything_to_begin_from():
    scene = Scene("text-to-video").set(ONE, denoise=0.5)
    assert "nothing to begin from" in scene.warnings()[ONE]
    assert Scene("text-to-video").set(ONE, denoise=1.0).report() == Report()


def test_comfyuis_own_vae_decodes_the_picture_of_a_film():
    """The film brings its sound, or has one made: which, the run knows."""
    scene, _ = with_film()
    scene.set("LTXDuoAVDecode", vae=[scene.add("VAELoader", vae_name="x")[0], 0])
    assert scene.report().wrong == {}
