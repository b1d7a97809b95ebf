"""Replayed evaluations against evaluations that run as usual: bit for bit, whatever changes between them.

On a GPU graphs are recorded for real, elsewhere by a stand-in.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ltx_duo.ltx_core.execution import graphs as module
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.splitting import TokenChunks
from ltx_duo.ltx_core.kernels import fp8
from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.kernels.fp8_linear import convert_linears
from ltx_duo.ltx_core.sampling.attention_weights import AttentionWeights
from ltx_duo.tests.ltx_core.execution.recorders import Cancelled, Logged, Reporter
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, GEOMETRY, Scene

PIECES = 3


@pytest.fixture
def recorder():
    return Logged()


@pytest.fixture
def recorded(recorder):
    return recorder.log


@pytest.fixture
def block_graphs(recorder):
    """Makes what runs a stage's blocks, two blocks a piece."""
    return partial(BlockGraphs, recorder=recorder, blocks_per_graph=2)


def check(scene: Scene, graphs: BlockGraphs, inputs=None, passes=None, arrangement=None) -> None:
    """An evaluation by `graphs` equals one as usual."""
    inputs, passes = inputs or scene.inputs(0.7), passes or scene.passes()
    expected = scene.model(*inputs, passes)
    result = scene.model(*inputs, passes, partial(graphs, arrangement=arrangement) if arrangement else graphs)
    for own, other in zip(result, expected, strict=True):
        for x, y in zip(own, other, strict=True):
            assert x.isfinite().all() and x.float().std() > 0
            assert torch.equal(x, y) if arrangement is None else torch.allclose(x, y, atol=0.1)


@pytest.fixture(params=[torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def scene(request, rng):
    with request.param():
        yield Scene(rng)


@pytest.mark.parametrize("in_fp8", [False, True])
def test_fresh_numbers_every_time(rng, recorded, in_fp8, block_graphs):
    with torch.no_grad():
        scene, graphs = Scene(rng, in_fp8), block_graphs()
        for sigma in (1.0, 0.8, 0.5, 0.3):
            check(scene, graphs, scene.inputs(sigma))
            scene.prompts = [tuple(x + 0.1 for x in prompt) for prompt in scene.prompts]
    assert recorded == ["record"] * PIECES + ["replay"] * 3 * PIECES


@torch.no_grad()
def test_steps_of_all_passes_and_of_one_are_recorded_apart(rng, recorded, block_graphs):
    """As guidance that is reused asks for them, in turn."""
    scene, graphs = Scene(rng), block_graphs()
    for sigma in (1.0, 0.9, 0.8):
        for passes in (scene.passes(), scene.passes()[:1]):
            check(scene, graphs, scene.inputs(sigma), passes)
    assert recorded == ["record"] * 2 * PIECES + ["replay"] * 4 * PIECES
    assert (graphs.evaluations, graphs.replayed) == (6, 4)


@torch.no_grad()
def test_a_bias_of_self_attention_is_replayed_too(rng, recorded, block_graphs):
    """With fresh numbers each time, as a stage with other weights has them."""
    scene, graphs = Scene(rng), block_graphs()
    own, behind = GEOMETRY.video_tokens - 5, 5
    for _ in range(3):
        weights = torch.rand(behind, generator=scene.rng)
        bias = AttentionWeights.full(own, own).grown(behind, weights).bias(torch.bfloat16).to(DEVICE)
        video, audio = scene.inputs(0.7)
        check(scene, graphs, (replace(video, bias=bias), audio))
    assert recorded == ["record"] * PIECES + ["replay"] * 2 * PIECES
    check(scene, graphs)  # none
    assert recorded.count("record") == 2 * PIECES


@pytest.mark.parametrize("alone", [0, 1], ids=["picture", "sound"])
@torch.no_grad()
def test_one_modality_alone_is_recorded_too(rng, recorder, recorded, block_graphs, alone):
    scene, graphs = Scene(rng), block_graphs()
    for sigma in (1.0, 0.8, 0.5):
        asked = *(own if n == alone else None for n, own in enumerate(scene.inputs(sigma))), scene.passes()[:3]
        for own, other in zip(scene.model(*asked, graphs), scene.model(*asked), strict=True):
            assert own[1 - alone] is None and torch.equal(own[alone], other[alone]) and own[alone].float().std() > 0
    assert recorded == ["record"] * PIECES + ["replay"] * 2 * PIECES and not recorder.opened  # nothing beside it


@torch.no_grad()
def test_fresh_prompts_where_they_are_not_modulated(rng, recorded, block_graphs, monkeypatch):
    """In LTX-2.0 all blocks read one context, whose float8 rows are made once: with each evaluation, not recording."""
    if DEVICE == "cpu":
        monkeypatch.setattr(fp8, "fp8_matmul_works", lambda device: True)
        monkeypatch.setattr(
            fp8, "fp8_linear", lambda x, weight, scales, bias: fp8.expanded_linear(x, weight, 1.0, bias)
        )
    scene, graphs = Scene(rng, fp8=True, cross_attention_adaln=False), block_graphs()
    for _ in range(4):
        check(scene, graphs)
        scene.prompts = [tuple(scene.draw(*x.shape) for x in prompt) for prompt in scene.prompts]
    assert recorded == ["record"] * PIECES + ["replay"] * 3 * PIECES


def test_other_work_is_recorded_for_itself(scene, recorded, block_graphs):
    graphs = block_graphs()
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


def test_weights_changed_where_they_lie_are_read(scene, recorded, block_graphs):
    graphs = block_graphs()
    for _ in range(4):
        check(scene, graphs)
        for block in scene.model.transformer_blocks:
            block.attn1.to_q.weight.mul_(1.1)
            block.scale_shift_table.add_(0.01)
    assert recorded.count("record") == PIECES


@pytest.mark.parametrize("block", [0, 3, 4])
def test_weights_that_moved_end_a_recording(scene, recorded, block, block_graphs):
    graphs = block_graphs()
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
    assert recorded[block // 2 :] == ["record"] * PIECES + ["replay"] * PIECES


def test_layers_exchanged_end_a_recording(scene, recorded, block_graphs):
    graphs = block_graphs()
    for _ in range(2):
        check(scene, graphs)
    convert_linears(scene.model)
    for _ in range(3):
        check(scene, graphs)
    assert recorded.count("record") == 2 * PIECES


class Patched(torch.nn.Linear):
    """A layer of somebody else's, which says whether a recording would do."""

    fixed = False

    def fixed_weights(self):
        return (self.weight, self.bias) if self.fixed else None


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
def test_what_a_recording_would_leave_out_is_not_recorded(scene, recorded, change, block_graphs):
    change(scene.model.transformer_blocks[1])
    graphs = block_graphs()
    for _ in range(3):
        check(scene, graphs)
    assert not recorded


def test_a_layer_that_begins_to_stream_ends_a_recording(scene, recorded, monkeypatch, block_graphs):
    refuse_layer(Patched)(scene.model.transformer_blocks[1])
    monkeypatch.setattr(Patched, "fixed", True)
    graphs = block_graphs()
    for _ in range(2):
        check(scene, graphs)
    assert recorded == ["record"] * PIECES + ["replay"] * PIECES
    monkeypatch.setattr(Patched, "fixed", False)
    del recorded[:]
    for _ in range(3):
        check(scene, graphs)
    assert not recorded


class Holds:
    """Lets a `Patched` layer be, for a while."""

    def __init__(self, monkeypatch, able: bool):
        self.set, self.able, self.log = partial(monkeypatch.setattr, Patched, "fixed"), able, []

    def hold(self, blocks) -> bool:
        self.log.append("hold")
        self.set(self.able)
        return self.able

    def release(self) -> None:
        self.log.append("release")
        self.set(False)


@pytest.mark.parametrize("able", [True, False])
def test_weights_that_move_are_recorded_while_they_are_held(scene, recorded, monkeypatch, block_graphs, able):
    refuse_layer(Patched)(scene.model.transformer_blocks[1])
    reporter, holder = Reporter(), Holds(monkeypatch, able)
    graphs = block_graphs(reporter, holder=holder)
    for _ in range(4):
        check(scene, graphs)
    assert (graphs.evaluations, graphs.replayed) == (4, 3 if able else 0)
    assert (graphs.reason is None) == able and set(holder.log) == {"hold"}
    assert len(recorded) == (4 * PIECES if able else 0) and recorded.count("record") == (PIECES if able else 0)
    reporter.stop_at = reporter.checks + 2
    with pytest.raises(Cancelled):
        scene.model(*scene.inputs(0.5), scene.passes(), graphs)
    assert holder.log[-1] == "release"


def test_other_chunks_are_recorded_for_themselves(scene, recorded, block_graphs):
    graphs = block_graphs()
    for _ in range(3):
        for arrangement in (None, TokenChunks(2), TokenChunks(3)):
            check(scene, graphs, arrangement=arrangement)
    assert recorded.count("record") == 3 * PIECES


@pytest.mark.parametrize("done", ["record", "replay"])
def test_cancel_between_pieces(scene, recorded, block_graphs, done):
    reporter = Reporter()
    graphs = block_graphs(reporter)
    if done == "replay":
        check(scene, graphs)
    del recorded[:]
    reporter.stop_at = reporter.checks + 2
    with pytest.raises(Cancelled):
        scene.model(*scene.inputs(0.5), scene.passes(), graphs)
    assert recorded == [done]
    check(scene, graphs)


def test_cancel_between_blocks_that_run_as_usual(scene, block_graphs):
    reporter = Reporter()
    reporter.stop_at, ran = 3, []
    for block in scene.model.transformer_blocks:
        block.register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(Cancelled):
        scene.model(*scene.inputs(0.5), scene.passes(), block_graphs(reporter))
    assert len(ran) == 2


def test_a_recording_that_fails_leaves_everything_as_usual(scene, recorder, block_graphs, monkeypatch, caplog):
    def refuse(device):
        def capture(function):
            raise RuntimeError("operation not permitted when stream is capturing")

        return capture

    monkeypatch.setattr(recorder, "open", refuse)
    module._tell.cache_clear()
    for graphs in (block_graphs(), block_graphs()):
        for _ in range(3):
            check(scene, graphs)
    assert caplog.text.count("not permitted") == 1


def test_a_run_that_raises_gives_the_recordings_up(scene, recorded, block_graphs):
    """Whoever tries again, in smaller pieces, needs their memory."""
    graphs = block_graphs()
    for _ in range(2):
        check(scene, graphs)
    hook = scene.model.transformer_blocks[4].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scene.model(*scene.inputs(0.5), scene.passes(), graphs)
    hook.remove()
    assert not graphs._recordings
    check(scene, graphs)
    assert recorded.count("record") == 2 * PIECES


@pytest.mark.gpu
def test_gpu_only_small_work_without_gradients_suits(rng, recorded, block_graphs):
    with torch.no_grad():
        scene = Scene(rng)
    graphs = block_graphs()
    for _ in range(3):
        scene.model(*scene.inputs(0.5), scene.passes(), graphs)
    assert not recorded, "recorded although gradients are on"
    graphs = block_graphs(most_tokens=4 * GEOMETRY.video_tokens - 1)
    with torch.no_grad():
        for _ in range(3):
            check(scene, graphs)
    assert not recorded, "recorded although the work is large"


@pytest.mark.gpu
def test_gpu_memory_is_free_again(scene, block_graphs):
    """Also what libraries keep is kept once: a second stage leaves the memory as it found it."""

    def stage():
        graphs = block_graphs()
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


@torch.no_grad()
def test_only_recordings_go_side_by_side(rng, recorder, block_graphs):
    """That both ways make the same bits is what every `check` asks."""
    scene, graphs = Scene(rng), block_graphs()
    for _ in range(4):
        check(scene, graphs)
    # A GPU runs what it records once as usual before.
    assert recorder.opened == (2 * PIECES if DEVICE == "cuda" else 4 * PIECES)
