"""ComfyUI's own VAE and upsampler loaders in a shipped workflow, on a real server."""

import json

import pytest

from ltx_duo.scripts.demo.client import Client, PromptRejected

TAKES_VAE = ("LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoLatentUpsampler", "LTXDuoAVDecode")


def with_core_loaders(prompt: dict) -> dict:
    """The same workflow with ComfyUI's loaders in the place of ours, where they give a VAE or an upsampler."""
    changed = json.loads(json.dumps(prompt))
    (vae,) = [name for name, entry in changed.items() if entry["class_type"] == "LTXDuoVAELoader"]
    (upsampler,) = [name for name, entry in changed.items() if entry["class_type"] == "LTXDuoUpsamplerLoader"]
    checkpoint = changed.pop(vae)["inputs"]["checkpoint"]
    changed["picture"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}}
    changed["sound"] = {"class_type": "LTXVAudioVAELoader", "inputs": {"ckpt_name": checkpoint}}
    file = changed[upsampler]["inputs"]["upsampler"]
    changed[upsampler] = {"class_type": "LatentUpscaleModelLoader", "inputs": {"model_name": file}}
    for entry in changed.values():
        if entry["class_type"] in TAKES_VAE:
            entry["inputs"]["vae"] = ["picture", 2]
        if entry["class_type"] == "LTXDuoAVDecode":
            entry["inputs"]["audio_vae"] = ["sound", 0]
    return changed


def test_the_same_film(film, make, workflow):
    assert make(with_core_loaders(workflow("image-to-video"))).same_as(film)


def test_sound_without_its_vae_is_refused_at_queue(server, workflow):
    prompt = with_core_loaders(workflow("text-to-video"))
    (decode,) = [name for name, entry in prompt.items() if entry["class_type"] == "LTXDuoAVDecode"]
    del prompt[decode]["inputs"]["audio_vae"]
    with pytest.raises(PromptRejected) as refused:
        Client(server.url, server.check_alive).run(prompt)
    (error,) = refused.value.node_errors[decode]["errors"]
    assert list(refused.value.node_errors) == [decode]
    assert error["extra_info"]["input_name"] == "vae" and "LTXVAudioVAELoader" in error["details"]
