"""Weights of the next block are fetched while a block runs; ComfyUI's own fetching is stood in for, it needs a GPU."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ltx_duo.ltx_core.execution.splitting import Pieces
from ltx_duo.nodes.comfyui import compat, fitting, latents, memory
from ltx_duo.nodes.comfyui.prefetch import drop_fetched, fetch_ahead

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self, name: str, log: list, broken: bool = False):
        super().__init__()
        self.name, self.log, self.broken = name, log, broken

    def forward(self, x):
        if self.broken:
            raise RuntimeError("out of memory")
        self.log.append(f"run {self.name}")
        return x


@pytest.fixture
def log(monkeypatch):
    """What is run and fetched, in order."""
    happened = []

    def make(blocks, device, options):
        assert options == {"prefetch_dynamic_vbars": True}
        return [None, *blocks, None]

    def pop(queue, device, block):
        assert device == CPU
        queue.pop(0)
        assert queue[0] is block
        happened.append(f"fetch {getattr(block, 'name', block and 'block')}")

    stand_in = SimpleNamespace(
        make_prefetch_queue=make, prefetch_queue_pop=pop, cleanup_prefetch_queues=lambda: happened.append("drop")
    )
    monkeypatch.setattr(compat, "prefetch_module", lambda: stand_in)
    return happened


def run(blocks) -> None:
    for block in blocks:
        block(torch.ones(1))


ORDER = ["fetch a", "run a", "fetch b", "run b", "fetch None"]


def test_each_block_is_fetched_before_it_runs(log):
    blocks = nn.ModuleList([Block("a", log), Block("b", log)])
    fetch_ahead(blocks, CPU)
    fetch_ahead(blocks, CPU)  # each stage asks for it
    run(blocks)
    run(blocks)
    assert log == ORDER * 2


def test_evaluation_that_broke_off_leaves_nothing(log):
    blocks = nn.ModuleList([Block("a", log), Block("b", log, broken=True)])
    fetch_ahead(blocks, CPU)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(blocks)
    blocks[1].broken = False
    log.clear()
    run(blocks)
    assert log == ["drop", *ORDER]


def test_a_device_never_drops_what_another_one_fetches(log):
    """ComfyUI drops all at once: that is for whoever knows that no device is at work, as before an evaluation."""
    devices = [nn.ModuleList([Block("a", log), Block("b", log, broken=True)]) for _ in range(2)]
    for blocks in devices:
        fetch_ahead(blocks, CPU)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(blocks)
        blocks[1].broken = False
    drop_fetched()
    log.clear()
    for blocks in devices:
        run(blocks)
    assert log == ORDER * 2


def test_out_of_memory_lets_go_before_room_is_made(log, monkeypatch):
    monkeypatch.setattr(compat, "is_out_of_memory", lambda error: True)
    monkeypatch.setattr(fitting, "make_room", lambda component, need: log.append("room"))
    model = SimpleNamespace(params=None, rope_tables=None, transformer_blocks=None)
    ladder = fitting.laddered(model, None, Pieces(2), lambda pieces: 0.0, "a test")
    assert ladder.retry(RuntimeError(), Pieces(2), Pieces(1))
    assert log == ["drop", "room"]


def test_blocks_are_freed_with_their_model(log):
    blocks = nn.ModuleList([Block("a", log)])
    fetch_ahead(blocks, CPU)
    run(blocks)
    gone = weakref.ref(blocks[0])
    gc.disable()
    try:
        del blocks
        assert gone() is None
    finally:
        gc.enable()


def test_older_comfyui_runs_as_before(monkeypatch):
    monkeypatch.setattr(compat, "prefetch_module", lambda: None)
    done = []
    blocks = nn.ModuleList([Block("a", done)])
    fetch_ahead(blocks, CPU)
    run(blocks)
    assert done == ["run a"] and not blocks[0]._forward_pre_hooks


def test_only_dynamic_vram_fetches_ahead(log, monkeypatch, model, stage_one, same):
    plain = stage_one(model)
    assert not log
    monkeypatch.setattr(memory.PatchedModule, "is_dynamic", lambda self: True)
    fetching = stage_one(model)
    evaluations, blocks = log.count("fetch None"), model.stage(1).module.transformer.transformer_blocks
    assert evaluations > 1 and log.count("fetch block") == len(blocks) * evaluations
    assert log.count("drop") == 1 and log[0] == "drop"  # what a run before may have left
    assert same(fetching, plain) and latents.take(fetching)[0].isfinite().all()
