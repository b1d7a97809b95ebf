"""What travels from node to node: prompts, other nodes' keys, the rate, LoRAs of a chain, the film, the device."""

from types import SimpleNamespace

import comfy.model_management as mm
import folder_paths
import pytest
import torch

from ltx_duo.nodes.comfyui import components, files, latents


def test_each_prompt_comes_out_on_its_own_output(run, encoder, texts):
    other = run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="something else")
    assert torch.equal(other[0][0][0], texts[0][0][0])
    assert not torch.equal(other[1][0][0], texts[1][0][0])


def test_the_latents_rate_goes_before_the_conditionings(upsampled):
    assert latents.fps_of(upsampled, [[None, {"frame_rate": 12.5}]]) == 25.0


def test_loras_of_a_chain_are_all_there_each_with_its_strengths(run, names, model):
    one = run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.25, strength_stage_two=0.5)
    two = run("LoraLoader", model=one, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
    assert [use.strengths for use in two.loras] == [(0.25, 0.5), (0.0, 1.0)]
    assert [use.strengths for use in one.loras] == [(0.25, 0.5)] and not model.loras


def test_stages_with_two_strengths_compute_with_their_own(with_lora, stage_one, same):
    both, first = with_lora(0.3, 0.9), with_lora(0.3, 0.0)
    both.stage(2)
    assert same(stage_one(both), stage_one(first))


@pytest.fixture
def decode(nodes, vae, upsampled, names, monkeypatch, tmp_path):
    """The decode node as it runs in a prompt; what it shows."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))

    def execute(prompt: dict):
        node = nodes["LTXDuoAVDecode"]
        hidden = SimpleNamespace(prompt=prompt, unique_id="5")
        inside = type("Inside", (node,), {"hidden": hidden})
        return inside.execute(latent=upsampled, vae=vae, tiling="off", **names.tiles).ui

    return execute


def test_the_film_plays_itself_only_where_no_other_node_takes_it(decode):
    alone = {"5": {"class_type": "LTXDuoAVDecode", "inputs": {"latent": ["4", 0]}}}
    assert decode(alone) is not None
    assert decode({**alone, "6": {"class_type": "SaveVideo", "inputs": {"video": ["5", 0]}}}) is None


def test_text_is_encoded_where_the_user_says(names, monkeypatch):
    gpu = torch.device("cpu", 0)  # another one than "cpu"
    monkeypatch.setattr(mm, "text_encoder_device", lambda: gpu)
    gemma = files.open_checkpoint("gemma-3-small", ("text_encoders",))
    projection = files.open_checkpoint(names.checkpoint, ("checkpoints",))
    places = {choice: components.build_text_encoder(gemma, projection, choice) for choice in ("default", "cpu")}
    assert places["default"].device == gpu
    assert places["cpu"].device == torch.device("cpu")
