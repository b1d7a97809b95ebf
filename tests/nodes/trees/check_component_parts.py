"""What belongs to a component: the LoRA beside it, connectors that leave again, mixed dtypes, and finite results."""

import comfy.model_patcher
import pytest
import torch
from torch import nn

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import lora_factors, memory

CPU = torch.device("cpu")


def test_a_lora_beside_the_model_counts_as_its_memory(model, with_lora):
    plain, changed = model.stage(2), with_lora(0.0, 1.0).stage(2)
    [factors] = changed.beside
    assert changed.size() == plain.size() + factors.patcher.model_size() > plain.size()


def test_lora_factors_are_loaded_with_their_model(model, with_lora, monkeypatch):
    loaded = []
    load = memory.mm.load_models_gpu
    monkeypatch.setattr(
        memory.mm, "load_models_gpu", lambda patchers, **how: (loaded.append(list(patchers)), load(patchers, **how))
    )
    changed = with_lora(0.0, 1.0).stage(2)
    changed.load()
    assert loaded == [[changed.patcher, changed.beside[0].patcher]]
    assert isinstance(changed.beside[0].module, lora_factors.Factors)


def test_connectors_leave_the_device_before_the_transformer_comes(model, stage_one, monkeypatch):
    left = []
    monkeypatch.setattr(memory.PatchedModule, "is_dynamic", lambda self: True)
    monkeypatch.setattr(
        comfy.model_patcher.ModelPatcher,
        "partially_unload",
        lambda self, device, size=0, **_: left.append((self, size)) or size,
    )
    stage_one(model)
    connectors = model.built.parts["connectors"].patcher
    assert left == [(connectors, connectors.model_size())]


class Layer(nn.Module):
    def __init__(self, ops, dtype, device):
        super().__init__()
        self.linear = ops.Linear(3, 2, dtype=dtype, device=device)


@pytest.mark.parametrize("weight, bias", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_weight_and_bias_of_two_dtypes_compute_together(weight, bias):
    state = {"linear.weight": torch.ones(2, 3, dtype=weight), "linear.bias": torch.ones(2, dtype=bias)}
    component = memory.build(
        Layer, state, source="a file", compute_dtype=torch.bfloat16, load_device=CPU, offload_device=CPU
    )
    result = component.load().linear(torch.ones(1, 3, dtype=torch.bfloat16))
    assert result.dtype == torch.bfloat16 and result.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_results_hold_neither_nan_nor_infinity(value):
    memory.check_finite(torch.full((4,), 1e30), "test")
    with pytest.raises(LTXError, match="test"):
        memory.check_finite(torch.tensor([1.0, value, 2.0]), "test")


def test_broken_sound_is_told(run, upsampled, names):
    fresh = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
    weight = fresh.vocoder().module.bwe_generator.conv_post.weight
    weight.data = torch.full_like(weight.data, float("nan"))
    with pytest.raises(LTXError, match="decoded sound.*bwe_generator.conv_post.weight"):
        run("AVDecode", latent=upsampled, vae=fresh, tiling="off", **names.tiles)
