"""Replayed evaluations against evaluations that run as usual: bit for bit, whatever changes between them.

On a GPU graphs are recorded for real; elsewhere a stand-in runs again what was recorded.
"""

import contextlib

import pytest
import torch

from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.transformer import graphs as module
from ltx_duo.ltx_core.transformer.fp8_linear import convert_linears
from ltx_duo.ltx_core.transformer.graphs import BlockGraphs
from ltx_duo.ltx_core.transformer.lanes import ONE_LANE
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, GEOMETRY, Scene

PIECES = 3


class Cancelled(Exception):
    pass


class Done:
    """The event of work that is finished."""

    def synchronize(self) -> None:
        pass


class Reporter:
    """Counts, and raises at the check that `stop_at` names."""

    def __init__(self, stop_at: int | None = None):
        self.checks, self.stop_at = 0, stop_at

    def check_cancel(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Cancelled

    def step(self, done, total, video_x0=None) -> None:
        pass


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """Two blocks a piece; without a GPU, the stand-in.  Lists what was recorded and replayed."""
    log = []
    monkeypatch.setattr(module, "BLOCKS_PER_GRAPH", 2)
    real = module.recorder

    def recorder(device):
        capture = real(device) if DEVICE == "cuda" else again

        def logged(function):
            log.append("record")
            replay, outputs = capture(function)
            return lambda: (log.append("replay"), replay())[1], outputs

        return logged

    def again(function):
        outputs = function()

        def replay():
            for old, new in zip(outputs, function(), strict=True):
                old.copy_(new)

        return replay, outputs

    monkeypatch.setattr(module, "recorder", recorder)
    if DEVICE == "cpu":
        monkeypatch.setattr(module, "_suits", lambda streams: True)
        monkeypatch.setattr(module, "TwoLanes", lambda device: contextlib.nullcontext(ONE_LANE))
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        monkeypatch.setattr(module, "_has_room", lambda device: True)
        monkeypatch.setattr(module, "_mark", Done)
    return log


def check(scene: Scene, graphs: BlockGraphs, inputs=None, passes=None) -> None:
    """An evaluation inside `graphs` equals one outside."""
    inputs, passes = inputs or scene.inputs(0.7), passes or scene.passes()
    expected = scene.model(*inputs, passes)
    with graphs.in_force():
        result = scene.model(*inputs, passes)
    for own, other in zip(result, expected, strict=True):
        for x, y in zip(own, other, strict=True):
            assert x.isfinite().all() and x.float().std() > 0
            assert torch.equal(x, y)


@pytest.fixture(params=[torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def scene(request, rng):
    with request.param():
        yield Scene(rng)


@pytest.mark.parametrize("fp8", [False, True])
def test_fresh_numbers_every_time(rng, recorded, fp8):
    with torch.no_grad():
        scene, graphs = Scene(rng, fp8), BlockGraphs()
        for sigma in (1.0, 0.8, 0.5, 0.3):
            check(scene, graphs, scene.inputs(sigma))
            scene.prompts = [tuple(x + 0.1 for x in prompt) for prompt in scene.prompts]
    assert recorded == ["record"] * PIECES + ["replay"] * 3 * PIECES


def test_other_work_is_recorded_for_itself(scene, recorded):
    graphs = BlockGraphs()
    kinds = [
        (lambda: scene.inputs(0.6), scene.passes()),
        (lambda: scene.inputs(0.6, held=False), scene.passes()),  # one timestep for all tokens
        (lambda: scene.inputs(0.6), scene.passes()[:1]),
        (lambda: scene.inputs(0.6), scene.passes()[:2]),
    ]
    for _ in range(3):
        for inputs, passes in kinds:
            check(scene, graphs, inputs(), passes)
    assert recorded.count("record") == len(kinds) * PIECES
    assert recorded.count("replay") == len(kinds) * 2 * PIECES


def test_weights_changed_where_they_lie_are_read(scene, recorded):
    graphs = BlockGraphs()
    for _ in range(4):
        check(scene, graphs)
        for block in scene.model.transformer_blocks:
            block.attn1.to_q.weight.mul_(1.1)
            block.scale_shift_table.add_(0.01)
    assert recorded.count("record") == PIECES


@pytest.mark.parametrize("block", [0, 3, 4])
def test_weights_that_moved_end_a_recording(scene, recorded, block):
    graphs = BlockGraphs()
    weight = scene.model.transformer_blocks[block].ff.net[2].weight
    for _ in range(2):
        check(scene, graphs)
    original = weight.data
    del recorded[:]
    weight.data = original * 1.5  # as LoRAs are laid over weights
    check(scene, graphs)
    assert recorded == ["replay"] * (block // 2)  # as usual from the moved weight on
    weight.data = original
    for _ in range(2):
        check(scene, graphs)
    assert recorded[block // 2 :] == ["record"] * PIECES + ["replay"] * 2 * PIECES


def test_layers_exchanged_end_a_recording(scene, recorded):
    graphs = BlockGraphs()
    for _ in range(2):
        check(scene, graphs)
    convert_linears(scene.model)
    for _ in range(3):
        check(scene, graphs)
    assert recorded.count("record") == 2 * PIECES


class Patched(torch.nn.Linear):
    """A layer of somebody else's, which says whether a recording would do."""

    fixed = False

    def fixed_weights(self) -> bool:
        return self.fixed


class Unknown(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x)


def refuse_hook(block):
    block.register_forward_hook(lambda module, inputs, output: None)


def refuse_layer(kind):
    def put(block):
        old = block.attn1.to_q
        block.attn1.to_q = kind(128, 128, device=DEVICE, dtype=torch.bfloat16).requires_grad_(False)
        block.attn1.to_q.weight.copy_(old.weight)

    return put


def refuse_attention(block):
    block.attn2.attention = lambda *inputs: scaled_dot_product(*inputs)


def refuse_forward(block):
    block.forward = block.forward


@pytest.mark.parametrize(
    "change", [refuse_hook, refuse_layer(Patched), refuse_layer(Unknown), refuse_attention, refuse_forward]
)
def test_what_a_recording_would_leave_out_is_not_recorded(scene, recorded, change):
    change(scene.model.transformer_blocks[1])
    graphs = BlockGraphs()
    for _ in range(3):
        check(scene, graphs)
    assert not recorded


def test_a_layer_that_begins_to_stream_ends_a_recording(scene, recorded, monkeypatch):
    refuse_layer(Patched)(scene.model.transformer_blocks[1])
    monkeypatch.setattr(Patched, "fixed", True)
    graphs = BlockGraphs()
    for _ in range(2):
        check(scene, graphs)
    assert recorded == ["record"] * PIECES + ["replay"] * PIECES
    monkeypatch.setattr(Patched, "fixed", False)
    del recorded[:]
    for _ in range(3):
        check(scene, graphs)
    assert not recorded


def test_cancel_between_pieces(scene, recorded):
    graphs = BlockGraphs()
    for _ in range(2):
        check(scene, graphs)
    del recorded[:]
    with pytest.raises(Cancelled), graphs.in_force():
        scene.model(*scene.inputs(0.5), scene.passes(), Reporter(stop_at=2))
    assert recorded == ["replay"]
    check(scene, graphs)


def test_a_recording_that_fails_leaves_everything_as_usual(scene, monkeypatch, caplog):
    def refuse(device):
        def capture(function):
            raise RuntimeError("operation not permitted when stream is capturing")

        return capture

    monkeypatch.setattr(module, "recorder", refuse)
    module._tell.cache_clear()
    for graphs in (BlockGraphs(), BlockGraphs()):
        for _ in range(3):
            check(scene, graphs)
    assert caplog.text.count("not permitted") == 1


def test_outside_nothing_is_recorded(scene, recorded):
    for _ in range(3):
        scene.model(*scene.inputs(0.5), scene.passes())
    assert not recorded


@pytest.mark.gpu
def test_gpu_only_small_work_without_gradients_suits(rng, recorded, monkeypatch):
    scene, graphs = None, BlockGraphs()
    with torch.no_grad():
        scene = Scene(rng)
    for _ in range(3):
        with graphs.in_force():
            scene.model(*scene.inputs(0.5), scene.passes())
    assert not recorded, "recorded although gradients are on"
    monkeypatch.setattr(module, "MOST_TOKENS", 4 * GEOMETRY.video_tokens - 1)
    with torch.no_grad():
        for _ in range(3):
            check(scene, graphs)
    assert not recorded, "recorded although the work is large"


@pytest.mark.gpu
def test_gpu_memory_is_free_again(scene):
    """Also what libraries keep is kept once: a second stage leaves the memory as it found it."""

    def stage():
        graphs = BlockGraphs()
        for _ in range(3):
            check(scene, graphs)
        held = torch.cuda.memory_allocated()
        del graphs
        torch.cuda.synchronize()
        return held, torch.cuda.memory_allocated()

    _, before = stage()
    held, after = stage()
    assert held > before
    assert after <= before


@pytest.mark.gpu
@torch.no_grad()
def test_gpu_only_recordings_have_two_lanes(rng, recorded, monkeypatch):
    """That both ways make the same bits is what every `check` asks."""
    scene, opened, real = Scene(rng), [], module.TwoLanes
    monkeypatch.setattr(module, "TwoLanes", lambda device: (opened.append(device), real(device))[1])
    graphs = BlockGraphs()
    check(scene, graphs)
    assert not opened
    for _ in range(3):
        check(scene, graphs)
    assert len(opened) == 2 * PIECES  # once as usual, once recorded
