"""ComfyUI's own loaders before our samplers on a real server: the film of our loader, bit for bit."""

import json

import numpy as np

from ltx_duo.scripts.demo.client import set_inputs


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
