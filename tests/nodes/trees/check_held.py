"""Weights held for a stage under dynamic VRAM: what is pinned is let go, and layers compute with what was held.

The pages are a stand-in's: there are none without a GPU.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ltx_duo.nodes.comfyui import compat, held, memory, prefetch
from ltx_duo.nodes.comfyui.held import HeldWeights
from ltx_duo.nodes.comfyui.lora_factors import Steps

BLOCKS, PER_PAGE = 3, 4


class Pages:
    """Of comfy-aimdo: pins are counted a page, and four layers share one."""

    def __init__(self, counted: bool = True):
        self.counted, self.pins, self.missing = counted, {}, None
        self.base_addr = 7 * held.PAGE

    def vbar_fault(self, allocation):
        page = (allocation[1] - self.base_addr) // held.PAGE
        if page == self.missing:
            return None
        self.pins[page] = self.pins.get(page, 0) + 1 if self.counted else 1
        return [page]

    def vbar_unpin(self, allocation):
        page = (allocation[1] - self.base_addr) // held.PAGE
        self.pins[page] = self.pins[page] - 1 if self.counted else 0

    def vbar_signature_compare(self, first, second):
        return first is not None and first == second

    def get_residency(self):
        return [held.PINNED if self.pins.get(page) else 0 for page in range(10)]


@pytest.fixture
def pages(monkeypatch):
    found = Pages()
    monkeypatch.setattr(compat, "pages_module", lambda: found)
    monkeypatch.setattr(held, "_has_room", lambda layer: True)
    return found


@pytest.fixture
def blocks(pages) -> nn.ModuleList:
    """Blocks of two linear layers whose weights, in pages, are not those of their parameters."""
    ops, _ = memory.pick_ops({"a.weight": torch.zeros(1)}, torch.float32)
    made = nn.ModuleList(nn.Sequential(ops.Linear(8, 8), ops.Linear(8, 8)) for _ in range(BLOCKS))
    for number, layer in enumerate(layers(made)):
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        page = number // PER_PAGE
        layer._v = pages, pages.base_addr + page * held.PAGE + 512 * number, 256
        layer._v_signature, layer.comfy_cast_weights = [page], True
        layer._v_weight, layer._v_bias = torch.randn(8, 8), torch.randn(8)
    return made


def layers(blocks) -> list:
    return [layer for layer in blocks.modules() if hasattr(layer, "weight_function")]


def free(blocks, pages) -> bool:
    return not any(pages.pins.values()) and all(layer.held is None for layer in layers(blocks))


def test_layers_compute_with_what_is_held(blocks, pages):
    x = torch.randn(2, 8)
    assert all(layer.fixed_weights() is None for layer in layers(blocks))
    with HeldWeights() as holder:
        assert holder.hold(blocks)
        assert sum(pages.pins.values()) == 2 * BLOCKS
        for layer in layers(blocks):
            weight, bias = layer._v_weight, layer._v_bias
            assert [own.data_ptr() for own in layer.fixed_weights()] == [weight.data_ptr(), bias.data_ptr()]
            expected = nn.functional.linear(x, weight, bias)
            assert torch.equal(layer(x), expected)
            assert torch.equal(layer.forward_gelu(x), nn.functional.gelu(expected, approximate="tanh"))
            half = layer(x.bfloat16())
            assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), expected, atol=0.1)
        assert not holder.hold(blocks)  # once is enough
    assert free(blocks, pages)


class Adds:
    """A LoRA's function, which tells what it adds."""

    def __init__(self, *shape: int):
        self.added = torch.randn(shape)

    def __call__(self, tensor):
        return tensor + self.added

    def fixed_tensors(self):
        return (self.added,)


def test_what_is_held_goes_through_its_functions(blocks, pages):
    x, layer = torch.randn(2, 8), layers(blocks)[0]
    layer.weight_function, layer.bias_function = [Steps([Adds(8, 8), Adds(8, 8)])], [Adds(8)]
    assert layer.fixed_weights() is None  # ComfyUI brings it
    used = [*(step.added for step in layer.weight_function[0].steps), layer.bias_function[0].added]
    with HeldWeights() as holder:
        assert holder.hold(blocks)
        found = [layer._v_weight, layer._v_bias, *used]
        assert [own.data_ptr() for own in layer.fixed_weights()] == [own.data_ptr() for own in found]
        weight, bias = layer._v_weight + used[0] + used[1], layer._v_bias + used[2]
        expected = nn.functional.linear(x, weight, bias)
        assert torch.allclose(layer(x), expected, atol=1e-6)
        assert torch.allclose(layer.forward_gelu(x), nn.functional.gelu(expected, approximate="tanh"), atol=1e-6)
    assert free(blocks, pages)


def plant_missing(blocks, pages):
    pages.missing = 1


def plant_moved(blocks, pages):
    layers(blocks)[-1]._v_signature = [8]


def plant_not_read_yet(blocks, pages):
    del layers(blocks)[-1]._v_signature


def plant_patched(blocks, pages):
    layers(blocks)[-1].weight_function = [lambda weight: weight + 1]


def plant_patched_in_part(blocks, pages):
    layers(blocks)[-1].bias_function = [Steps([Adds(8), lambda bias: bias + 1])]


def plant_of_another_kind(blocks, pages):
    own = nn.LayerNorm(8)
    own._v = layers(blocks)[0]._v
    blocks[-1].append(own)


def plant_uncounted(blocks, pages):
    pages.counted = False


@pytest.mark.parametrize("plant", [plant_missing, plant_moved, plant_not_read_yet, plant_patched,
                                   plant_patched_in_part, plant_of_another_kind, plant_uncounted])  # fmt: skip
def test_what_cannot_be_held_is_left_as_it_was(blocks, pages, plant):
    plant(blocks, pages)
    with HeldWeights() as holder:
        assert not holder.hold(blocks)
        assert free(blocks, pages)


def test_an_error_lets_go(blocks, pages, monkeypatch):
    def fails(first, second):
        raise RuntimeError("planted")

    monkeypatch.setattr(pages, "vbar_signature_compare", fails)
    holder = HeldWeights()
    with pytest.raises(RuntimeError, match="planted"):
        holder.hold(blocks)
    assert free(blocks, pages)


@pytest.mark.parametrize("missing", ["pages", "room"])
def test_without_pages_or_room_nothing_is_held(blocks, pages, monkeypatch, missing):
    if missing == "pages":
        monkeypatch.setattr(compat, "pages_module", lambda: None)
    else:
        monkeypatch.setattr(held, "_has_room", lambda layer: False)
    assert not HeldWeights().hold(blocks) and free(blocks, pages)


def test_nothing_is_fetched_for_what_is_held(blocks, pages, monkeypatch):
    asked = []
    module = SimpleNamespace(
        make_prefetch_queue=lambda *_: ["queue"], cleanup_prefetch_queues=lambda: None,
        prefetch_queue_pop=lambda queue, device, block: asked.append(block),
    )  # fmt: skip
    monkeypatch.setattr(compat, "prefetch_module", lambda: module)
    prefetch.fetch_ahead(blocks, torch.device("cpu"))
    with HeldWeights() as holder:
        assert holder.hold(blocks)
        for block in blocks:
            assert not block._forward_pre_hooks and not block._forward_hooks
            block(torch.randn(2, 8))
        assert not asked
    assert all(len(block._forward_pre_hooks) == 1 for block in blocks) and len(blocks[-1]._forward_hooks) == 1
