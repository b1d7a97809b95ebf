"""Preflight on ComfyUI's own VAE and upsampler loaders before our nodes: quiet where they are good."""

import pytest

from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

DECODE, ONE, TWO = "LTXDuoAVDecode", "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
UPSAMPLER = "LTXDuoLatentUpsampler"
OFFICIAL = "ltx-2.3-22b-dev.safetensors"


def core_scene(name: str = "text-to-video", audio: str | None = "LTXVAudioVAELoader") -> Scene:
    """A workflow whose VAEs and upsampler are ComfyUI's own."""
    scene = Scene(name)
    vae = [scene.add("CheckpointLoaderSimple", ckpt_name=OFFICIAL)[0], 2]
    for node in (ONE, TWO, UPSAMPLER, DECODE):
        scene.set(node, vae=vae)
    scene.set(UPSAMPLER, upsampler=scene.add("LatentUpscaleModelLoader", model_name="ltx-2.3-upscaler.safetensors"))
    if audio:
        scene.set(DECODE, audio_vae=scene.add(audio, ckpt_name=OFFICIAL))
    return scene


def refused(scene: Scene) -> dict[str, dict[str, str]]:
    """Messages by the class of the node, and by input."""
    return {scene.prompt[node]["class_type"]: messages for node, messages in scene.report().wrong.items()}


@pytest.mark.parametrize("name", ["text-to-video", "image-to-video", "distilled"])
@pytest.mark.parametrize("audio", ["LTXVAudioVAELoader", "LTXDuoVAELoader"])
def test_good_loaders(name, audio):
    assert core_scene(name, audio).report() == Report()


def test_sound_without_its_vae():
    scene = core_scene(audio=None)
    ((slot, text),) = refused(scene)[DECODE].items()
    assert slot == "vae" and "picture alone" in text and "LTXVAudioVAELoader" in text and "audio_vae" in text
    # Our own VAE brings the sound's, and core's node leaves the picture alone.
    assert core_scene(audio=None).set(DECODE, vae=scene.link("LTXDuoVAELoader")).report() == Report()
    for node, slot in (("LTXVSeparateAVLatent", "av_latent"), ("SomeonesPictureAlone", "latent")):
        assert scene.set(DECODE, latent=scene.add(node, **{slot: scene.link(TWO)})).report() == Report()


def test_sound_before_stage_two():
    scene = core_scene(audio=None).set(DECODE, latent=["nowhere", 0])
    for latent, wrong in ((UPSAMPLER, True), (ONE, True), ("LTXVConcatAVLatent", False)):
        link = scene.link(latent) if latent != "LTXVConcatAVLatent" else scene.add(latent)
        assert (DECODE in refused(scene.set(DECODE, latent=link))) == wrong, latent


def test_picture_and_sound_in_each_others_place():
    scene = core_scene()
    audio = scene.add("LTXVAudioVAELoader", ckpt_name=OFFICIAL)
    for node in (ONE, TWO, UPSAMPLER, DECODE):
        scene.set(node, vae=audio)
    scene.set(DECODE, audio_vae=[scene.add("CheckpointLoaderSimple", ckpt_name=OFFICIAL)[0], 2])
    found = refused(scene)
    assert {node: set(messages) for node, messages in found.items()} == {
        ONE: {"vae"}, TWO: {"vae"}, UPSAMPLER: {"vae"}, DECODE: {"vae", "audio_vae"},
    }  # fmt: skip
    assert "sound alone" in found[ONE]["vae"] and "picture alone" in found[DECODE]["audio_vae"]


def test_files_of_another_generation():
    scene = core_scene()
    scene.files.old = (scene.link("CheckpointLoaderSimple")[0],)
    found = refused(scene)
    assert {node: set(messages) for node, messages in found.items()} == {
        node: {"vae"} for node in (ONE, TWO, UPSAMPLER, DECODE)
    }
    assert "LTX-2.0" in found[DECODE]["vae"] and "LTX-2.3" in found[DECODE]["vae"]
    scene.files.old = (scene.link("LTXVAudioVAELoader")[0],)
    assert {node: set(messages) for node, messages in refused(scene).items()} == {DECODE: {"audio_vae"}}
    scene.files.old = ()
    assert scene.report() == Report()


def test_faulty_upsampler():
    scene = core_scene().set("LatentUpscaleModelLoader", model_name="ltx-2.3-spatial-upscaler-x2-1.0.safetensors")
    assert "1.1" in scene.warnings()["LatentUpscaleModelLoader"]
    scene.set("LatentUpscaleModelLoader", model_name="ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
    assert scene.report() == Report()
    # One that our node does not take is no matter of ours.
    scene.add("LatentUpscaleModelLoader", model_name="ltx-2.3-spatial-upscaler-x2-1.0.safetensors")
    assert scene.report() == Report()
