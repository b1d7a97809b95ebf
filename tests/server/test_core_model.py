"""ComfyUI's own loaders before our samplers on a real server: the film of our loader, bit for bit."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.scripts.demo.client import PromptRejected, set_inputs


def test_film_of_comfyuis_loader_is_that_of_ours(make, workflow, small_model):
    """Without the LoRA, whose sum each side rounds in its own dtype; then with it, which the film must show."""
    ours = workflow("text-to-video")
    loader = next(node for node, entry in ours.items() if entry["class_type"] == "LTXDuoModelLoader")
    for sampler in ("LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"):
        set_inputs(ours, sampler, model=[loader, 0])
    theirs = json.loads(json.dumps(ours))
    name = theirs[loader]["inputs"]["checkpoint"]
    theirs[loader] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
    expected = make(ours)
    assert make(theirs).same_as(expected)
    lora = {"model": [loader, 0], "lora_name": small_model["distilled LoRA"].name, "strength_model": 1.0}
    theirs["core lora"] = {"class_type": "LoraLoaderModelOnly", "inputs": lora}
    set_inputs(theirs, "LTXDuoStageTwoSampler", model=["core lora", 0])
    assert not np.array_equal(make(theirs).pictures, expected.pictures)


def test_a_file_without_connectors_is_refused_when_queued(client, server, small_model, workflow):
    """ComfyUI would open it, and sample with connectors that were never written."""
    with safe_open(small_model["checkpoint"], "pt") as file:
        metadata = file.metadata()
    tensors = {
        name: tensor
        for name, tensor in load_file(small_model["checkpoint"]).items()
        if name.startswith("model.diffusion_model.") and "connector" not in name
    }
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "transformer-only.safetensors", metadata)
    prompt = workflow("text-to-video")
    unet = {"unet_name": "transformer-only.safetensors", "weight_dtype": "default"}
    prompt["unet"] = {"class_type": "UNETLoader", "inputs": unet}
    set_inputs(prompt, "LTXDuoStageOneSampler", model=["unet", 0])
    with pytest.raises(PromptRejected) as refused:
        client.run(prompt)
    (bad,) = refused.value.node_errors
    assert prompt[bad]["class_type"] == "LTXDuoStageOneSampler"
    (error,) = refused.value.node_errors[bad]["errors"]
    assert error["extra_info"]["input_name"] == "model" and "lacks text connectors" in error["details"]
