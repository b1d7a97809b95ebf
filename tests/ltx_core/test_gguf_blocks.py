"""Expansion of GGUF's blocks, in pieces and on a GPU."""

import pytest
import torch

from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES
from ltx_duo.tests.gguf_samples import random_blocks


@pytest.mark.parametrize("name", ["Q8_0", "Q4_K"])
def test_rounded_once_and_in_pieces(name, rng, monkeypatch):
    packed = random_blocks(name, 6, 3, rng).view(2, 3, -1)
    whole = BLOCK_TYPES[name].expand(packed)
    monkeypatch.setattr("ltx_duo.ltx_core.gguf_blocks._TOGETHER", 512)
    assert torch.equal(BLOCK_TYPES[name].expand(packed, torch.bfloat16), whole.bfloat16())
    assert whole.shape == (2, 3, 3 * BLOCK_TYPES[name].size)


def test_samples_reach_both_ends():
    kind = BLOCK_TYPES["Q8_0"]
    packed = torch.zeros(64, 256 * kind.bytes, dtype=torch.uint8)
    assert not kind.samples(packed).any() and kind.samples(packed).numel() < 64 * 256 * 32 // 3
    for place in (0, -kind.bytes):
        broken = packed.clone()
        broken.view(-1)[place:][:2] = torch.tensor([float("inf")]).half().view(torch.uint8)
        assert not torch.isfinite(kind.samples(broken)).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_same_bits_on_a_gpu(name, rng):
    packed = random_blocks(name, 64, 8, rng)
    for dtype in (torch.float32, torch.bfloat16):
        expected = BLOCK_TYPES[name].expand(packed, dtype)
        found = BLOCK_TYPES[name].expand(packed.cuda(), dtype)
        assert torch.equal(found.view(torch.uint8).cpu(), expected.view(torch.uint8)), dtype


@pytest.mark.gpu
@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_takes_no_more_room_than_it_says(name):
    kind, count = BLOCK_TYPES[name], 2**25
    packed = torch.zeros(count // kind.size, kind.bytes, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kind.expand(packed, torch.bfloat16)
    assert torch.cuda.max_memory_allocated() - before <= kind.room(count, torch.bfloat16)
