"""Devices that record one after another, where a recording would take what others allocate meanwhile."""

import threading

import pytest
import torch

from ltx_duo.ltx_core.execution import pass_split
from ltx_duo.ltx_core.execution.capture import CudaRecorder
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.replicas import Turns, replicate
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.tests.ltx_core.execution.recorders import Again
from ltx_duo.tests.ltx_core.execution.teams import FURTHER
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, Scene

PIECES = 3


@pytest.fixture
def working(monkeypatch) -> set[int]:
    """The threads in which a transformer computes now."""
    threads, forward = set(), AVTransformer.forward

    def noted(self, *arguments):
        threads.add(threading.get_ident())
        try:
            return forward(self, *arguments)
        finally:
            threads.discard(threading.get_ident())

    monkeypatch.setattr(AVTransformer, "forward", noted)
    return threads


class Watched(Again):
    """Notes what was recorded, and fails where another thread works meanwhile."""

    def __init__(self, turns: Turns, log: list[str], working: set[int]):
        self._turns, self._log, self._working = turns, log, working

    def may_record(self) -> bool:
        return self._turns.alone()

    def open(self, device):
        capture = super().open(device)

        def watched(function):
            assert self._working == {threading.get_ident()}
            self._log.append("record")
            replay, outputs = capture(function)
            assert self._working == {threading.get_ident()}
            return lambda: (self._log.append("replay"), replay())[1], outputs

        return watched


@pytest.mark.parametrize("first", [0, 1, 2])
def test_all_record_in_turn_and_replay_at_once(rng, monkeypatch, working, first):
    with torch.no_grad():
        scene, turns, log = Scene(rng), Turns(first), []

        def graphs(reporter=None) -> BlockGraphs:
            return BlockGraphs(recorder=Watched(turns, log, working), blocks_per_graph=2)

        at_once, own = [], graphs()
        real = turns.at_once
        monkeypatch.setattr(turns, "at_once", lambda: (at_once.append(len(log)), real())[1])
        with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], runner=graphs, turns=turns) as model:
            for sigma in (0.9, 0.6, 0.3):
                inputs, four = scene.inputs(sigma), scene.passes()
                found = model(*inputs, four, own)
                for group in ((0, 2), (1, 3)):
                    for index, expected in zip(group, scene.model(*inputs, [four[i] for i in group]), strict=True):
                        assert all(torch.equal(x, y) for x, y in zip(found[index], expected, strict=True))
            # One pass is not divided: the first device is alone whatever came before.
            single = scene.passes()[:1]
            for _ in range(2):
                model(*scene.inputs(0.2), single, own)
    of_one = ["record"] * PIECES + ["replay"] * PIECES
    assert log[: -len(of_one)].count("record") == (2 * PIECES if first else 0) and log[-len(of_one) :] == of_one
    assert log[: -len(of_one)].count("replay") == (4 * PIECES if first else 0) and len(at_once) == 3 - first


def test_what_is_not_recorded_is_not_made_in_turn(rng, monkeypatch):
    with torch.no_grad():
        scene, turns, at_once = Scene(rng), Turns(2), []
        real = turns.at_once
        monkeypatch.setattr(turns, "at_once", lambda: (at_once.append(1), real())[1])
        monkeypatch.setattr(pass_split, "MOST_TOKENS", 2 * scene.inputs(0.5)[0].tokens.shape[1] - 1)
        with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], turns=turns) as model:
            model(*scene.inputs(0.5), scene.passes())
    assert at_once == [1]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@torch.no_grad()
def test_gpu_two_devices_record_and_replay(rng):
    """Under the allocator that this process has; see test_capture."""
    scene, turns, made = Scene(rng), Turns(2), []

    def graphs(reporter=None) -> BlockGraphs:
        made.append(BlockGraphs(recorder=CudaRecorder(turns.alone)))
        return made[-1]

    four = scene.passes()
    with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], runner=graphs, turns=turns) as model:
        own = graphs()
        for sigma in (0.9, 0.7, 0.5, 0.3, 0.1):
            inputs = scene.inputs(sigma)
            found = model(*inputs, four, own)
            for group in ((0, 2), (1, 3)):
                for index, expected in zip(group, scene.model(*inputs, [four[i] for i in group]), strict=True):
                    assert all(torch.equal(x, y.to(DEVICE)) for x, y in zip(found[index], expected, strict=True))
    assert [(each.evaluations, each.replayed) for each in made] == [(5, 4), (5, 4)]
