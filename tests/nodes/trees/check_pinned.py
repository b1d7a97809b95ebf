"""LoRAs in page-locked memory, and ComfyUI kept from pinning them once more."""

import importlib
from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.nodes.comfyui import compat, pinned

CUDA = torch.device("cuda", 0)
TENSORS = {
    "a": torch.randn(3, 5).bfloat16(),
    "b": torch.randn(700).to(torch.float8_e4m3fn),
    "c": torch.tensor(2.0),
    "d": torch.randn(40, 40),
}

PARTS = [{name: TENSORS[name] for name in names} for names in ("abc", "d")]


@pytest.fixture
def blocks(monkeypatch):
    """Blocks of memory that were asked for; ordinary memory, since there is no GPU to lock it for."""
    made = []

    def allocate(size):
        made.append(torch.empty(size, dtype=torch.uint8))
        return made[-1]

    monkeypatch.setattr(pinned, "allocate", allocate)
    monkeypatch.setattr(pinned, "BLOCK", 4096)
    monkeypatch.setattr(mm, "MAX_PINNED_MEMORY", 2**40, raising=False)
    return made


def test_copies_are_equal_and_share_blocks(blocks):
    copies = pinned.pinned(PARTS, 0, CUDA)
    assert copies.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        copy = copies[name]
        assert copy.dtype == tensor.dtype and copy.shape == tensor.shape
        assert torch.equal(copy.float(), tensor.float())
        assert any(copy.untyped_storage().data_ptr() == block.data_ptr() for block in blocks)
    assert [block.numel() for block in blocks] == [4096, 6400]  # what is larger than a block has its own


@pytest.mark.parametrize("change", ["cpu", "memory", "off"])
def test_tensors_stay_where_they_are_otherwise(blocks, monkeypatch, change):
    device = torch.device("cpu") if change == "cpu" else CUDA
    if change == "memory":
        monkeypatch.setattr(mm, "get_free_memory", lambda device: pinned.SPARE - 1)
    if change == "off":
        monkeypatch.setattr(mm, "MAX_PINNED_MEMORY", -1)
    assert pinned.pinned(PARTS, 0, device) is None and not blocks


def test_tensors_stay_where_they_are_when_the_system_locks_no_more(blocks, monkeypatch):
    def refuse(size):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(pinned, "allocate", refuse)
    assert pinned.pinned(PARTS, 0, CUDA) is None


class Locked(torch.Tensor):
    def is_pinned(self, *_):
        return True


@pytest.mark.parametrize("lies_pinned", [True, False])
def test_dynamic_vram_pins_no_patch_twice(lies_pinned):
    if not hasattr(mm, "ensure_pin_budget"):
        pytest.skip("this ComfyUI has no dynamic VRAM")
    pins = importlib.import_module("comfy.pinned_memory")
    factor = torch.zeros(2, 2).as_subclass(Locked) if lies_pinned else torch.zeros(2, 2)
    patches = {"key": [(1.0, SimpleNamespace(weights=(factor, factor, 2.0, None)), 1.0, None, None)]}
    layer, plain = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    patch = layer.weight_lowvram_function = SimpleNamespace(_pin_state="ComfyUI's", key="key", patches=patches)
    compat.pin_no_patch_twice(SimpleNamespace(model=torch.nn.Sequential(layer, plain), patches=patches))
    if not lies_pinned:
        assert patch._pin_state == "ComfyUI's"
        return
    for subset in ("patches", "patches-loaded"):
        assert not pins.pin_memory(patch, subset=subset, size=2**20)
        assert pins.get_pin(patch, subset=subset) is None


def test_the_tensors_own_size_counts_as_used(blocks, monkeypatch):
    monkeypatch.setattr(mm, "get_free_memory", lambda device: pinned.SPARE + 1000)
    assert pinned.pinned(PARTS, 1001, CUDA) is None and not blocks
    assert pinned.pinned(PARTS, 1000, CUDA) is not None
