"""Copies of the transformer, and threads that work together: all end when one fails or the user cancels."""

import threading

import pytest
import torch

from ltx_duo.ltx_core.execution.replicas import fitting_devices, replicate
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus
from ltx_duo.ltx_core.transformer.runner import InOrder
from ltx_duo.tests.ltx_core.execution.teams import FURTHER, RUNNER, Cancelled, Reporter, helpers_alive
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, LAYERS, Scene


@pytest.fixture(params=[False, True], ids=["bf16", "fp8"])
def scene(rng, request):
    with torch.no_grad():
        yield Scene(rng, fp8=request.param)


@pytest.fixture(params=["passes", "tokens"])
def passes(scene, request):
    """Four passes, which are divided, or one, of which the tokens are."""
    return scene.passes() if request.param == "passes" else scene.passes()[:1]


def divided(scene, replica, reporter=None):
    return on_several_gpus(scene.model, [replica], reporter or Reporter(), runner=RUNNER, fewest_tokens=0)


def test_replicas_have_weights_of_their_own(scene):
    replica = replicate(scene.model, FURTHER)
    own, other = (dict(model.named_parameters()) for model in (scene.model, replica))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name].to(DEVICE)) for name in own)
    assert not {tensor.data_ptr() for tensor in own.values()} & {tensor.data_ptr() for tensor in other.values()}
    assert {tensor.device for tensor in other.values()} == {torch.empty(0, device=FURTHER).device}


def test_a_card_without_room_is_named_and_left_out(scene, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1024, 2048))
    cpu = torch.device("cpu")
    assert fitting_devices((scene.model, None), [torch.device("cuda", 7), cpu], "model of the test") == [cpu]
    assert "cuda:7 is not used: it has 0.0 GiB free and the model of the test takes" in caplog.text


@pytest.mark.parametrize("check", [1, 3])
def test_cancelling_stops_all(scene, passes, check):
    """The first device's blocks ask; the replica's stop with them."""
    reporter = Reporter(check)
    with divided(scene, replicate(scene.model, FURTHER), reporter) as model, pytest.raises(Cancelled):
        model(*scene.inputs(0.5), passes, InOrder(reporter))
    assert reporter.checks == check and helpers_alive() == 0


def test_cancelling_while_the_other_device_is_waited_for(scene):
    """Our passes are done: the evaluation is stopped by asking while it waits, and the replica between two blocks."""
    replica, reporter = replicate(scene.model, FURTHER), Reporter()
    blocks_run, stopped = [], threading.Event()

    def cancel():
        threading.Timer(0.1, stopped.set).start()
        raise Cancelled

    def slow(module, arguments):
        blocks_run.append(module)
        assert stopped.wait(60)

    reporter.check_cancel = cancel
    for block in replica.transformer_blocks:
        block.register_forward_pre_hook(slow)
    with divided(scene, replica, reporter) as model, pytest.raises(Cancelled):
        model(*scene.inputs(0.5), scene.passes(), InOrder())
    assert len(blocks_run) <= 1 and helpers_alive() == 0


@pytest.mark.parametrize("failing", ["the replica", "the model"])
@pytest.mark.parametrize("block", [0, LAYERS - 1])
def test_what_one_raises_is_raised_and_the_next_evaluation_runs(scene, passes, failing, block):
    replica = replicate(scene.model, FURTHER)
    broken = {"the replica": replica, "the model": scene.model}[failing]

    def fail(module, arguments):
        raise torch.cuda.OutOfMemoryError(f"of {failing}")

    with divided(scene, replica) as model:
        handle = broken.transformer_blocks[block].register_forward_pre_hook(fail)
        with pytest.raises(torch.cuda.OutOfMemoryError, match=f"of {failing}"):
            model(*scene.inputs(0.5), passes)
        handle.remove()
        assert all(v.isfinite().all() for pair in model(*scene.inputs(0.5), passes) for v in pair)
    assert helpers_alive() == 0


def test_without_replicas_the_model_is_used_as_it_is(scene):
    with on_several_gpus(scene.model, ()) as model:
        assert model is scene.model
