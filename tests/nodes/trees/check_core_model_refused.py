"""What is no model of LTX-2.3 is refused in every ComfyUI, with what it is; its types are those that wires have."""

import comfy.model_patcher
import comfy.sd
import pytest
import torch
from comfy_execution.validation import validate_node_input

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import core_model

CPU = torch.device("cpu")


def patcher(image_model: str, name: str):
    """A MODEL of another kind, as ComfyUI's loaders give it."""
    model = torch.nn.Module()
    model.diffusion_model = torch.nn.Linear(2, 2)
    model.model_config = type(name, (), {"unet_config": {"image_model": image_model}})()
    return comfy.model_patcher.ModelPatcher(model, CPU, CPU)


REFUSED = {
    "Flux": (lambda: patcher("flux", "Flux"), "This MODEL is Flux"),
    "LTX-Video": (lambda: patcher("ltxv", "LTXV"), "This MODEL is LTX-Video before LTX-2"),
    "a CLIP": (lambda: object.__new__(comfy.sd.CLIP), "This is no model but a CLIP"),
    "a VAE": (lambda: object.__new__(comfy.sd.VAE), "This is no model but a VAE"),
    "a latent": (lambda: {"samples": None}, "a value of type dict"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_ltx_2_3_is_refused(what, stage_one, run, names):
    make, words = REFUSED[what]
    for use in (
        stage_one,
        lambda model: run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0),
    ):
        with pytest.raises(LTXError, match=words):
            use(make())


def test_our_own_handle_is_taken_as_it_is(model):
    assert core_model.take(model) is model


@pytest.mark.parametrize("node", ["StageOneSampler", "StageTwoSampler", "LoraLoader"])
def test_both_types_are_wired_and_no_other(nodes, node):
    wanted, _ = nodes[f"LTXDuo{node}"].GET_NODE_INFO_V1()["input"]["required"]["model"]
    assert validate_node_input("LTXDUO_MODEL", wanted) and validate_node_input("MODEL", wanted)
    assert not validate_node_input("CLIP", wanted)
