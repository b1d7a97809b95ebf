"""Preflight of a sound without a picture: what it can be given, what its model and texts need, and where it goes."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.preflight.room import Machine, check_room
from ltx_duo.nodes.prompt_graph import PromptGraph
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

SAMPLER, DECODE, VOICE = "LTXDuoSoundSampler", "LTXDuoSoundDecode", "LTXDuoReferenceVoice"
LORA = "ltx-2.3-22b-distilled-lora-384-1.1.safetensors"


@pytest.fixture
def scene():
    return Scene("text-to-sound")


def wrong(scene: Scene) -> tuple[str, str, str]:
    """The one node that is refused, by its class, the input, and the message."""
    ((name, messages),) = scene.report().wrong.items()
    ((slot, text),) = messages.items()
    return scene.prompt[name]["class_type"], slot, text


def test_the_workflow_is_well(scene):
    assert scene.report() == Report()


@pytest.mark.parametrize(
    "node, slot",
    [
        ("LTXDuoImageCondition", "image"),
        ("LTXDuoSoundCondition", "audio"),
        ("LTXDuoFilmSound", "video"),
        ("LTXDuoRetake", "video"),
        ("LTXDuoExtend", "video"),
        ("LTXDuoRegion", "video"),
        ("LTXDuoReferenceVideo", "video"),
    ],
)
def test_what_belongs_to_a_film_is_refused_where_it_is_given(scene, node, slot):
    scene.set(SAMPLER, conditions=scene.add(node, **{slot: ["99", 0]}))
    assert wrong(scene)[:2] == (node, slot)
    assert "LTX Stage One Sampler" in wrong(scene)[2]


def test_a_voice_brings_its_vae(scene):
    scene.set(SAMPLER, conditions=scene.add(VOICE, audio=["99", 0], scale=3.0))
    kind, slot, text = wrong(scene)
    assert (kind, slot) == (VOICE, "audio_vae") and "LTXVAudioVAELoader" in text
    scene.set(VOICE, audio_vae=scene.link("LTXDuoVAELoader"))
    assert scene.report() == Report()
    second = scene.add(VOICE, audio=["99", 0], scale=3.0, conditions=scene.link(VOICE))
    scene.set(SAMPLER, conditions=second)
    assert wrong(scene)[1] == "audio" and "2 reference voices" in wrong(scene)[2]


def test_cfg_of_the_sound_needs_a_negative_prompt(scene):
    scene.cut(SAMPLER, "negative")
    assert wrong(scene)[:2] == (SAMPLER, "positive")
    scales = {"video_cfg": 3.0, "audio_cfg": 1.0, "stg_blocks": "auto"}  # of a picture that is not there
    assert scene.set("LTXDuoGuidance", preset="custom", **scales).report() == Report()
    assert wrong(scene.set("LTXDuoGuidance", audio_cfg=7.0))[1] == "positive"


def test_what_is_likely_not_meant_is_told(scene):
    assert scene.set(SAMPLER, seconds=20.0).report() == Report()
    assert "about 20 s; 20.5 s" in scene.set(SAMPLER, seconds=20.5).warnings()[SAMPLER]
    scene.set(SAMPLER, seconds=5.0, schedule="distilled")
    assert "need distilled weights" in scene.warnings()[SAMPLER]
    scene.set(SAMPLER, sigmas=scene.add("ManualSigmas", sigmas="0.7, 0.3, 0.1"))
    told = [text for _, text in scene.report().warnings]
    assert len(told) == 3 and "no effect" in told[0]
    assert "sound begins with noise alone" in told[1] and "keeps noise" in told[2]


def test_sigmas_that_do_not_fall(scene):
    scene.set(SAMPLER, sigmas=scene.add("ManualSigmas", sigmas="0.3, 0.7, 0"))
    assert wrong(scene)[:2] == (SAMPLER, "sigmas")


def test_files_belong_together(scene):
    scene.files.text_width = 3840
    assert wrong(scene)[0] == "LTXDuoTextEncoderLoader"
    scene.files.text_width = 4096
    scene.files.lora_fits = False
    lora = scene.add("LTXDuoLoraLoader", model=scene.link("LTXDuoModelLoader"), lora=LORA)
    assert wrong(scene.set(SAMPLER, model=lora))[:2] == ("LTXDuoLoraLoader", "lora")


@pytest.mark.parametrize("loader", ["LTXDuoVAELoader", "LTXVAudioVAELoader"])
def test_the_vae_is_of_the_models_generation(scene, loader):
    if loader != "LTXDuoVAELoader":
        scene.set(DECODE, audio_vae=scene.add(loader, ckpt_name="x"))
    scene.files.old = [scene.prompt[scene.link(DECODE)[0]]["inputs"]["audio_vae"][0]]
    kind, _, text = wrong(scene)
    assert kind == (loader if loader == "LTXDuoVAELoader" else DECODE) and "LTX-2.0" in text


def test_a_vae_of_pictures_decodes_no_sound(scene):
    loader = scene.add("CheckpointLoaderSimple", ckpt_name="x")
    scene.set(DECODE, audio_vae=[loader[0], 2])
    assert wrong(scene)[:2] == (DECODE, "audio_vae")


@pytest.mark.parametrize(
    "node", ["LTXDuoAVDecode", "LTXDuoStageTwoSampler", "LTXDuoLatentUpsampler", "LTXDuoSaveLatent"]
)
def test_nodes_for_pictures_do_not_take_it(scene, node):
    scene.add(node, latent=scene.link(SAMPLER))
    kind, slot, text = wrong(scene)
    assert (kind, slot) == (node, "latent") and "LTX Sound Decode" in text


def test_a_batch_is_refused(scene):
    empty = scene.add("LTXVEmptyLatentAudio", frames_number=97, frame_rate=25.0, batch_size=2)
    assert wrong(scene.set(DECODE, latent=empty))[:2] == (DECODE, "latent")


def test_a_model_for_sound_alone_need_not_fit_into_memory():
    """Only a sixth of it is read."""
    machine = Machine(ram=10**9, free_ram=10**15, vram=10**9, free_disk=10**15)
    for name, told in (("text-to-sound", 0), ("text-to-video", 1)):
        report = Report()
        check_room(PromptGraph(Scene(name).prompt), lambda loader: 40 * 10**9, machine, report)
        assert len(report.warnings) == told
