"""Preflight of references: the LoRA that reads them, sizes that its factor divides, a voice where a sound is made."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO, LORA = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoLoraLoader"
REFERENCE, VOICE, SOUND = "LTXDuoReferenceVideo", "LTXDuoReferenceVoice", "LTXDuoSoundCondition"
SIZE = "reference_downscale_factor"


def with_reference(
    loras: dict[str, dict] | None = None, strengths: tuple[float, float] = (1.0, 0.0), **inputs
) -> tuple[Scene, list, list[str]]:
    """Text to video with a reference, and IC-LoRAs before both samplers: the scene, the reference, their loaders."""
    scene = Scene("text-to-video")
    scene.files.ic_loras = {"half.safetensors": {SIZE: "2"}} if loras is None else loras
    model, loaders = next(e for e in scene.prompt.values() if e["class_type"] == ONE)["inputs"]["model"], []
    for name in scene.files.ic_loras:
        model = scene.add(
            LORA, model=model, lora=name, strength_stage_one=strengths[0], strength_stage_two=strengths[1]
        )
        loaders.append(model[0])
    inputs = {"video": ["99", 0], "strength": 1.0, "attention_strength": 1.0, "stage_two": "none"} | inputs
    link = scene.add(REFERENCE, **inputs)
    return scene.set(ONE, conditions=link, model=model).set(TWO, conditions=link, model=model), link, loaders


def test_a_reference_with_its_lora_is_well():
    assert with_reference()[0].report() == Report()


@pytest.mark.parametrize(
    ("loras", "strengths", "stage_two", "words"),
    [
        ({}, (1, 0), "none", "stage one"),
        (None, (0, 1), "none", "stage one"),
        (None, (1, 0), "same", "stage two"),
        (None, (1, 1), "same", None),
    ],
)
def test_a_reference_that_no_lora_reads_is_told(loras, strengths, stage_two, words):
    scene, link, _ = with_reference(loras, strengths, stage_two=stage_two)
    told = [(node.id, text) for node, text in scene.report().warnings]
    assert bool(told) == (words is not None)
    for node, text in told:
        assert node == link[0] and f"reads this reference in {words}" in text


@pytest.mark.parametrize("hidden", ["link", "unknown node"])
def test_of_loras_that_are_not_known_nothing_is_said(hidden):
    scene, _, _ = with_reference({})
    model = scene.add("SomethingOfOthers", model=scene.link("LTXDuoModelLoader"))
    if hidden == "link":
        model = scene.add(LORA, model=scene.link("LTXDuoModelLoader"), lora=["98", 0])
        scene.files.lora = lambda loader: None
    assert scene.set(ONE, model=model).report() == Report()


def test_a_lora_without_a_reference_is_told():
    scene, _, loaders = with_reference()
    scene.cut(ONE, "conditions").cut(TWO, "conditions")
    ((node, text),) = scene.report().warnings
    assert node.id == loaders[0] and "none is given" in text and "LTX Reference Video" in text
    scene.set(ONE, conditions=["97", 0]).set(TWO, conditions=["97", 0])  # from a node of others, which may give one
    assert not scene.report().warnings


@pytest.mark.parametrize(("stage", "said"), [((1, 0), True), ((0, 0), False)])
def test_two_factors(stage, said):
    scene, _, loaders = with_reference({"a.safetensors": {SIZE: "2"}, "b.safetensors": {SIZE: "4"}}, stage)
    wrong = scene.report().wrong
    assert wrong.get(loaders[1], {}).get("lora", "").startswith("Two IC-LoRAs") == said == bool(wrong)


@pytest.mark.parametrize("text", ["two", "0", "1.5"])
def test_metadata_that_are_no_factor(text):
    scene, link, loaders = with_reference({"a.safetensors": {SIZE: text}})
    ((name, messages),) = scene.report().wrong.items()
    assert name == loaders[0] and f"says {SIZE} {text!r}" in messages["lora"]
    scene.prompt[link[0]]["inputs"]["downscale_factor"] = "2"
    assert not scene.report().wrong


@pytest.mark.parametrize(
    ("width", "height", "factor", "sides"),
    [
        (1536, 1024, "auto", []),
        (1408, 1024, "auto", []),
        (1408, 960, "auto", ["height"]),
        (1216, 960, "auto", ["width", "height"]),
        (1216, 960, "1", []),
        (1536, 1024, "3", ["height"]),
        (["96", 0], 960, "auto", ["height"]),
    ],
)
def test_sizes_that_the_factor_does_not_divide(width, height, factor, sides):
    scene, _, _ = with_reference(downscale_factor=factor)
    wrong = scene.set(ONE, width=width, height=height).report().wrong
    assert list(next(iter(wrong.values()), {})) == sides
    for messages in wrong.values():
        assert all("is no multiple of 32" in text for text in messages.values())


def test_one_stage_divides_the_asked_size_itself():
    scene, _, _ = with_reference(downscale_factor="auto")
    scene.set(ONE, width=1216, height=960)
    assert scene.report().wrong and not scene.set(ONE, size="full").report().wrong


def with_voice(*kinds: tuple[str, dict]) -> tuple[Scene, list]:
    scene = Scene("text-to-video")
    link = scene.add(VOICE, audio=["99", 0], scale=3.0)
    first = link
    for kind, inputs in kinds:
        link = scene.add(kind, conditions=link, **inputs)
    return scene.set(ONE, conditions=link).set(TWO, conditions=link), first


def test_a_voice_is_well():
    assert with_voice()[0].report() == Report()
    film = {"video": ["98", 0], "remake": "sound", "start": 0.0, "end": 0.0}
    assert not with_voice(("LTXDuoRetake", film))[0].report().wrong


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (SOUND, {"audio": ["98", 0]}),
        ("LTXDuoRetake", {"video": ["98", 0], "remake": "picture"}),
        ("LTXDuoRegion", {"video": ["98", 0], "sound": "keep"}),
    ],
)
def test_no_voice_in_a_sound_that_is_kept(kind, inputs):
    scene, voice = with_voice((kind, inputs))
    assert "changes nothing" in scene.report().wrong[voice[0]]["audio"]


def test_two_voices():
    scene, _ = with_voice((VOICE, {"audio": ["98", 0]}))
    (messages,) = scene.report().wrong.values()
    assert "2 reference voices" in messages["audio"]


def test_a_voice_needs_an_encoder_of_sound():
    scene, voice = with_voice()
    loader = scene.add("VAELoader", vae_name="ltx-2.3-video-vae.safetensors")
    scene.set(ONE, vae=loader).set(TWO, vae=loader)
    assert "encodes the picture alone" in scene.report().wrong[voice[0]]["audio_vae"]
    scene.set(VOICE, audio_vae=scene.add("LTXVAudioVAELoader", ckpt_name="a.safetensors"))
    assert voice[0] not in scene.report().wrong


def test_a_reference_in_a_picture_that_is_kept():
    scene, link, _ = with_reference()
    film = scene.add("LTXDuoFilmSound", video=["98", 0], conditions=link)
    wrong = scene.set(ONE, conditions=film).set(TWO, conditions=film).report().wrong
    assert "changes nothing" in wrong[link[0]]["video"]
