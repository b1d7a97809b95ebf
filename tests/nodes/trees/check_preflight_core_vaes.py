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


def test_a_vae_of_ours_of_another_generation_before_the_decode():
    """Which no sampler looks at."""
    scene = Scene("text-to-video").set(DECODE, vae=None)
    scene.set(DECODE, vae=scene.add("LTXDuoVAELoader", checkpoint=OFFICIAL, audio_file="same file"))
    assert scene.report() == Report()
    scene.files.old = (list(scene.prompt)[-1],)
    ((loader, text),) = scene.report().errors.items()
    assert loader == scene.files.old[0] and "LTX-2.0" in text and "LTX-2.3" in text


@pytest.mark.parametrize("core", [True, False])
def test_upsampler_of_another_generation_by_its_name(core):
    scene = core_scene() if core else Scene("text-to-video")
    loader, slot = ("LatentUpscaleModelLoader", "model_name") if core else ("LTXDuoUpsamplerLoader", "upsampler")
    scene.set(loader, **{slot: "ltx-2-spatial-upscaler-x2-1.0.safetensors"})
    text = scene.warnings()[loader]
    assert "is for LTX-2.0" in text and "is of LTX-2.3" in text and "ltx-2.3-spatial-upscaler-x2-1.1" in text
    scene.set(loader, **{slot: "some-upscaler.safetensors"})
    assert scene.report() == Report()


def test_upsampler_of_2_0_beside_its_model():
    """Its version 1.0 is not the faulty one."""
    scene = Scene("text-to-video")
    scene.files.old = tuple(scene.prompt)
    scene.set("LTXDuoUpsamplerLoader", upsampler="ltx-2-spatial-upscaler-x2-1.0.safetensors")
    assert "LTXDuoUpsamplerLoader" not in {node.type for node, _ in scene.report().warnings}
    scene.set("LTXDuoUpsamplerLoader", upsampler="ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
    told = {node.type: text for node, text in scene.report().warnings}["LTXDuoUpsamplerLoader"]
    assert "is for LTX-2.3" in told and "Choose ltx-2-spatial-upscaler-x2-1.0.safetensors" in told


def test_the_missing_distilled_lora_is_that_of_the_models_generation():
    scene = Scene("text-to-video")
    lora = scene.link("LTXDuoLoraLoader")[0]
    model = scene.prompt.pop(lora)["inputs"]["model"]
    scene.set(TWO, model=model).set(ONE, model=model)
    assert "ltx-2.3-22b-distilled-lora" in scene.warnings()[TWO]
    scene.files.old = tuple(scene.prompt)
    assert "ltx-2-19b-distilled-lora-384" in {n.type: text for n, text in scene.report().warnings}[TWO]
