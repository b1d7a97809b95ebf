"""What a recording that fails leaves behind: nothing.

The process is ComfyUI's, and other nodes draw random numbers, allocate and record there too.  All of it runs again
under the allocator that ComfyUI chooses, `cudaMallocAsync`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.transformer.block import AVTransformerBlock
from ltx_duo.tests.ltx_core.transformer.scenes import LAYERS, Scene

CHILD = "LTXDUO_ALLOCATOR_CHILD"
FILES = [__file__, str(Path(__file__).with_name("test_turns.py"))]


class Interrupted(BaseException):
    """As ComfyUI's own cancel."""


def raise_error(x):
    raise RuntimeError("planted")


def interrupt(x):
    raise Interrupted


def synchronize(x):
    torch.cuda.synchronize()


def read(x):
    x.sum().item()


def allocate_too_much(x):
    torch.empty(2**50, dtype=torch.uint8, device="cuda")


def draw_and_fail(x):
    torch.randn(64, device="cuda")
    raise RuntimeError("planted")


def leave_a_stream_behind(x):
    other = torch.cuda.Stream()
    other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        x + 1


FAILURES = [raise_error, interrupt, allocate_too_much, draw_and_fail, leave_a_stream_behind]
if CHILD not in os.environ:  # waiting in a recording ends the process there
    FAILURES += [synchronize, read]


def evaluate(scene: Scene, graphs: BlockGraphs, inputs) -> list[torch.Tensor]:
    return [x for pair in scene.model(*inputs, scene.passes(), graphs) for x in pair]


def equal(results, expected) -> bool:
    return all(torch.equal(x, y) for x, y in zip(results, expected, strict=True))


def plant(monkeypatch, failure, number: int) -> list:
    """Lets the feed-forward with that number inside a recording fail; they come video, audio, block by block."""
    real, seen = AVTransformerBlock._feed_forward, []

    def feed_forward(self, x, *arguments):
        if torch.cuda.is_current_stream_capturing():
            seen.append(x.shape)
            if len(seen) == number:
                failure(x)
        return real(self, x, *arguments)

    monkeypatch.setattr(AVTransformerBlock, "_feed_forward", feed_forward)
    return seen


@pytest.mark.gpu
@pytest.mark.parametrize("number", [1, 2, 2 * LAYERS - 1, 2 * LAYERS])
@pytest.mark.parametrize("failure", FAILURES)
@torch.no_grad()
def test_gpu_a_recording_that_fails_leaves_the_process_as_it_was(rng, monkeypatch, failure, number):
    scene = Scene(rng)
    for _ in range(2):  # libraries have made what they keep
        evaluate(scene, graphs := BlockGraphs(), inputs := scene.inputs(0.7))
        evaluate(scene, graphs, inputs)
    del graphs
    torch.cuda.manual_seed(7)
    numbers = [torch.randn(1000, device="cuda") for _ in range(3)]
    expected = [x.clone() for x in evaluate(scene, BlockGraphs(), inputs)]
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()

    torch.cuda.manual_seed(7)
    first = torch.randn(1000, device="cuda")
    with monkeypatch.context() as patch:
        seen, graphs = plant(patch, failure, number), BlockGraphs()
        try:
            results = evaluate(scene, graphs, inputs)
        except Interrupted:
            results = None
        assert len(seen) >= number
    assert (results is None) == (failure is interrupt)
    assert results is None or equal(results, expected)
    del graphs, results

    # Random numbers go on where they were.
    assert torch.equal(first, numbers[0])
    assert torch.equal(torch.randn(1000, device="cuda"), numbers[1])
    # Memory is given back, and what is freed now is freed at once.
    del first
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
    large = torch.empty(64 * 2**20, device="cuda")
    assert torch.cuda.memory_allocated() >= before + large.nbytes
    del large
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
    # Others can record, and so can we.
    assert not torch.cuda.is_current_stream_capturing()
    graph, static = torch.cuda.CUDAGraph(), torch.ones(8, device="cuda")
    with torch.cuda.graph(graph):
        doubled = static * 2
    graph.replay()
    assert doubled.eq(2).all()
    assert torch.equal(torch.randn(1000, device="cuda"), numbers[2])
    graphs = BlockGraphs()
    for _ in range(3):
        assert equal(evaluate(scene, graphs, inputs), expected)
    assert (len(graphs._recordings), graphs.replayed) == (1, 2)


@pytest.mark.gpu
@pytest.mark.skipif(CHILD in os.environ, reason="this is the run that the test starts")
def test_gpu_all_of_it_again_under_the_allocator_that_comfyui_chooses():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *FILES]
    environment = os.environ | {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync", CHILD: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    of_turns = 4 + (torch.cuda.device_count() > 1)
    assert f"{4 * (len(FAILURES) - 2) + of_turns} passed" in done.stdout
