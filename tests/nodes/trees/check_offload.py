"""Weights that leave the device go back to the file's own memory: nothing is copied, nothing is doubled."""

import gc
import weakref

import pytest
import torch

from ltx_duo.nodes.comfyui import offload

# Stands in for a GPU: what is moved there is gone unless somebody remembers it.
AWAY = torch.device("meta")


def places(component) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in component.module.state_dict().items()}


@pytest.fixture
def component(model):
    return model.stage(1)


def test_whole_module_comes_back_without_a_copy(component, model, stage_one, same):
    expected = stage_one(model)
    before = places(component)
    root = component.patcher.model
    root.to(AWAY)
    assert all(tensor.device == AWAY for tensor in component.module.state_dict().values())
    root.to("cpu")
    assert places(component) == before
    assert same(stage_one(model), expected)


def test_single_layers_come_back_without_a_copy(component):
    before = places(component)
    for module in component.module.modules():
        if not list(module.children()):
            module.to(AWAY)
    moved = component.module.transformer.transformer_blocks[0].attn1.to_q
    assert moved.weight.device == AWAY
    for module in component.module.modules():
        module.to(torch.device("cpu"))
    assert places(component) == before


def test_what_comfyui_has_replaced_counts_too(component):
    layer = component.module.transformer.transformer_blocks[0].attn1.to_q
    before = layer.weight.data_ptr()
    layer.weight = torch.nn.Parameter(torch.empty_like(layer.weight, device=AWAY), requires_grad=False)
    layer.to("cpu")
    assert layer.weight.data_ptr() == before


def test_weights_at_home_stay_as_they_are(component):
    """A patched weight that lies on the CPU is ComfyUI's business: its own backup restores it."""
    layer = component.module.transformer.transformer_blocks[0].attn1.to_q
    own = layer.weight
    patched = torch.nn.Parameter(own + 1, requires_grad=False)
    layer.weight = patched
    layer.to("cpu")
    assert layer.weight is patched
    layer.weight = own


def test_other_moves_are_pytorchs(component):
    layer = torch.nn.Linear(2, 2)
    offload.remember(layer)
    assert layer.to(torch.float64).weight.dtype == torch.float64
    assert type(layer).__name__ == "Linear" and isinstance(layer, torch.nn.Linear)


def test_buffers_have_a_home():
    layer = torch.nn.BatchNorm1d(2)
    offload.remember(layer)
    before = layer.running_mean.data_ptr()
    layer.to(AWAY)
    assert layer.running_mean.device == AWAY
    assert layer.to("cpu").running_mean.data_ptr() == before


def test_homes_keep_no_module_alive():
    layer = torch.nn.Linear(2, 2)
    offload.remember(layer)
    weak = weakref.ref(layer)
    del layer
    gc.collect()
    assert weak() is None


def test_switching_stages_copies_no_weight_that_has_no_lora(with_lora, stage_two, upsampled):
    both = with_lora(0.0, 1.0)
    before = places(both.stage(1))
    stage_two(both, upsampled)
    both.stage(1).load()
    assert places(both.stage(1)) == before
