"""Several devices in pieces: when memory runs out on one, all have stopped and make the evaluation again in smaller."""

import gc
import traceback
import weakref
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from ltx_duo.ltx_core.execution.replicas import replicate
from ltx_duo.ltx_core.execution.several_gpus import PiecewiseTeam, on_several_gpus
from ltx_duo.ltx_core.execution.splitting import Pieces, PiecewiseModel
from ltx_duo.tests.ltx_core.execution.teams import FURTHER, RUNNER, helpers_alive
from ltx_duo.tests.ltx_core.transformer.scenes import Scene

ROUNDING = 0.03  # of bfloat16, summed in another order


@pytest.fixture
def scene(rng):
    with torch.no_grad():
        yield Scene(rng)


@contextmanager
def team(scene, replicas, pieces: Pieces, retry=lambda error, tried, smaller: smaller is not None):
    parts = [PiecewiseModel(own, pieces) for own in (scene.model, *replicas)]
    devices = [torch.device(FURTHER) for _ in replicas]
    with on_several_gpus(parts[0], parts[1:], runner=RUNNER, fewest_tokens=0, devices=devices) as divided:
        yield PiecewiseTeam(divided, parts, pieces, retry)


class Full:
    """Makes a block run out of memory the next `times` times; keeps how many passes and chunks it was given."""

    def __init__(self, module, times: int):
        self.times, self.seen = times, []
        self.handle = module.register_forward_pre_hook(self._hook)

    def _hook(self, module, arguments):
        arrangement = arguments[-1]
        self.seen.append((arguments[0].shape[0], getattr(arrangement, "count", 1)))
        if self.times:
            self.times -= 1
            raise torch.OutOfMemoryError("planted")


def near(found, expected) -> bool:
    pairs = [own for one in zip(found, expected, strict=True) for own in zip(*one, strict=True)]
    return all((a.float() - b.float()).norm() < ROUNDING * b.float().norm() for a, b in pairs)


@pytest.mark.parametrize("failing", ["the model", "the replica"])
@pytest.mark.parametrize("times, last", [(0, (2, 1)), (1, (1, 1)), (2, (1, 4)), (3, (1, 16))])
def test_passes(scene, failing, times, last):
    """Two passes on each device, then one after the other, then in chunks, on both."""
    replica, inputs, four = replicate(scene.model, FURTHER), scene.inputs(0.5), scene.passes()
    expected = scene.model(*inputs, four)
    blocks = {"the model": scene.model.transformer_blocks[-1], "the replica": replica.transformer_blocks[-1]}
    fulls = {name: Full(block, times if name == failing else 0) for name, block in blocks.items()}
    with team(scene, [replica], Pieces(2)) as model:
        assert near(model(*inputs, four), expected)
        assert {full.seen[-1] for full in fulls.values()} == {last}
        for full in fulls.values():
            full.seen.clear()
        assert near(model(*inputs, four), expected)  # the smaller pieces stay
        assert {own for full in fulls.values() for own in full.seen} == {last}
    assert helpers_alive() == 0


@pytest.mark.parametrize("failing", [0, 2])
def test_tokens(scene, failing):
    """All four devices begin again together, in chunks: nobody waits for one that makes its part again alone."""
    replicas, inputs, only = [replicate(scene.model, FURTHER) for _ in range(3)], scene.inputs(0.5), scene.passes()[:1]
    expected = scene.model(*inputs, only)
    fulls = [Full(own.transformer_blocks[2], 0) for own in (scene.model, *replicas)]
    fulls[failing].times = 1
    with team(scene, replicas, Pieces(1)) as model:
        assert near(model(*inputs, only), expected)
    assert {full.seen[-1] for full in fulls} == {(1, 4)} and helpers_alive() == 0


@pytest.mark.parametrize("failing", ["the model", "the replica"])
@pytest.mark.parametrize("count", [1, 4])
def test_the_tokens_of_what_failed_are_let_go(scene, failing, count):
    """Whoever frees the error's frames, as the nodes do, has the memory of all devices back."""
    replica, inputs, passes = replicate(scene.model, FURTHER), scene.inputs(0.5), scene.passes()[:count]
    tokens, alive = [], []
    for name, own in (("the model", scene.model), ("the replica", replica)):
        block = own.transformer_blocks[-1]
        # Not by hooks, whose own frames keep what they are given.
        block.forward = partial(_seen, tokens, block.forward, name == failing)

    def retry(error, tried, smaller):
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        alive.extend(own() is not None for own in tokens)
        return False

    with team(scene, [replica], Pieces(2), retry) as model, pytest.raises(torch.OutOfMemoryError):
        model(*inputs, passes)
    assert alive and not any(alive)


def _seen(tokens: list, forward, fails: bool, video, *more):
    tokens.append(weakref.ref(video))
    if fails:
        raise torch.OutOfMemoryError("planted")
    return forward(video, *more)


def test_what_else_fails_is_raised_at_once(scene):
    replica, asked = replicate(scene.model, FURTHER), []
    replica.transformer_blocks[1].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("planted")))

    def retry(error, tried, smaller):
        asked.append((str(error), tried))
        return False

    with team(scene, [replica], Pieces(2), retry) as model:
        with pytest.raises(RuntimeError, match="planted"):
            model(*scene.inputs(0.5), scene.passes())
        assert model.model.failed == torch.device(FURTHER)
    assert asked == [("planted", Pieces(2))]


def test_an_error_of_the_first_device_is_nobody_elses(scene):
    replica = replicate(scene.model, FURTHER)
    scene.model.transformer_blocks[1].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("own")))
    with team(scene, [replica], Pieces(2), lambda *_: False) as model:
        with pytest.raises(RuntimeError, match="own"):
            model(*scene.inputs(0.5), scene.passes())
        assert model.model.failed is None
