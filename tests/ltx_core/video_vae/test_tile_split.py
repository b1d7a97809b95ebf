"""A video's tiles divided between devices: the bits of the same tiles on one, and an end of all when one fails."""

import threading

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.execution.replicas import replicate
from ltx_duo.ltx_core.video_vae import Tiling
from ltx_duo.tests.ltx_core.execution.teams import FURTHER, Cancelled, Reporter, helpers_alive
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE

TILES = Tiling(64, 32, 16, 8)  # 12, of which neighbours in time share a latent frame


@pytest.fixture
def home(decoder):
    return decoder.to(DEVICE)


@pytest.fixture
def latent(rng):
    return torch.randn(1, 16, 3, 3, 4, generator=rng).to(DEVICE)


def copies(decoder, count: int):
    return [replicate(decoder, FURTHER) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_the_bits_are_those_of_one_device(home, latent, count):
    replicas, seen = copies(home, count), []
    for number, own in enumerate((home, *replicas)):
        own.register_forward_pre_hook(lambda _, arguments, number=number: seen.append((number, arguments[0].device)))
    expected = two_stage.decode_video(home, latent, TILES)
    tiles, reporter = len(seen), Steps()
    seen.clear()
    found = two_stage.decode_video(home, latent, TILES, reporter, replicas)
    assert torch.equal(found, expected) and found.isfinite().all()
    assert reporter.steps == [(done + 1, tiles) for done in range(tiles)]
    each = [sum(number == own for number, _ in seen) for own in range(1 + count)]
    assert sum(each) == tiles == 12 and set(each) == {tiles // (1 + count)}
    devices = dict(seen)
    assert all(device == torch.empty(0, device=FURTHER).device for number, device in devices.items() if number)
    assert helpers_alive() == 0


class Steps(Reporter):
    def __init__(self):
        super().__init__()
        self.steps = []

    def step(self, done, total, video_x0=None) -> None:
        self.steps.append((done, total))


def test_more_devices_than_tiles(home, latent):
    small = latent[:, :, :2, :2, :3]
    found = two_stage.decode_video(home, small, TILES, replicas=copies(home, 5))
    assert torch.equal(found, two_stage.decode_video(home, small, TILES)) and helpers_alive() == 0


def test_in_one_piece_the_first_device_decodes(home, latent):
    [replica], seen = copies(home, 1), []
    replica.register_forward_pre_hook(lambda *_: seen.append(True))
    two_stage.decode_video(home, latent, None, replicas=[replica])
    assert not seen


@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_raises_is_raised_and_the_next_video_is_decoded(home, latent, failing):
    pair = home, *copies(home, 1)

    def fail(module, arguments):
        raise torch.cuda.OutOfMemoryError("planted")

    handle = pair[failing].conv_out.register_forward_pre_hook(fail)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="planted"):
        two_stage.decode_video(home, latent, TILES, replicas=pair[1:])
    assert helpers_alive() == 0
    handle.remove()
    expected = two_stage.decode_video(home, latent, TILES)
    assert torch.equal(two_stage.decode_video(home, latent, TILES, replicas=pair[1:]), expected)


def test_cancelling_while_another_device_is_waited_for(home, latent):
    """The replica finishes the tile that it is at, and begins no other."""
    [replica], cancelled, begun = copies(home, 1), threading.Event(), []

    def slow(module, arguments):
        begun.append(module)
        assert cancelled.wait(60)

    class Cancelling(Reporter):
        def check_cancel(self) -> None:
            super().check_cancel()
            if self.checks == 3:  # before the first tile, before the second, and while that is waited for
                threading.Timer(0.1, cancelled.set).start()
                raise Cancelled

    replica.register_forward_pre_hook(slow)
    with pytest.raises(Cancelled):
        two_stage.decode_video(home, latent, TILES, Cancelling(), [replica])
    assert len(begun) == 1 and helpers_alive() == 0
