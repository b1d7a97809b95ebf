"""What a stage begins with is made in pieces: the same bits as at once, and a cancel is seen between them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ltx_duo.ltx_core.sampling import pieces
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.noise import draw_noise
from ltx_duo.ltx_core.sampling.stage import start_stage
from ltx_duo.ltx_core.transformer import rope

GEOMETRY = LatentGeometry(256, 256, 249, 24.0)  # 2048 tokens, 259 of sound
PIECE = 4096
LIMITS = (20.0, 2048.0, 2048.0)


# Operations that compute nothing.
NOTHING = ("empty.memory_format", "empty_like", "new_empty", "zeros")


class Cancelled(Exception):
    pass


class Reporter:
    """Counts checks, and raises at the one that `stop_at` names."""

    def __init__(self, stop_at: int | None = None, on_check=lambda: None):
        self.checks, self.stop_at, self.on_check = 0, stop_at, on_check

    def check_cancel(self) -> None:
        self.checks += 1
        self.on_check()
        if self.checks == self.stop_at:
            raise Cancelled


class Work(TorchDispatchMode):
    """Values computed since the last check, and the most of them."""

    def __init__(self):
        super().__init__()
        self.since = self.longest = self.total = 0

    def checked(self) -> None:
        self.since = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not function.is_view and not function.name().endswith(NOTHING):
            self.since, self.total = self.since + made.numel(), self.total + made.numel()
            self.longest = max(self.longest, self.since)
        return made


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "MOST_VALUES", PIECE)
    monkeypatch.setattr(rope, "_MOST_SORTED", PIECE // 16)


def begin(reporter):
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(3), reporter=reporter)
    middles = rope.interval_middles(state.video.positions[0])
    table = rope.rotary_table(middles, LIMITS, 96, 4, 10000.0, reporter=reporter)
    return state.video.latent, state.audio.latent, table.cos, table.index


def test_pieces_make_the_same_bits(small_pieces, monkeypatch):
    found = begin(Reporter())
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(found, begin(Reporter()), strict=True))


@given(st.integers(1, 700), st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]))
def test_noise_in_pieces_is_the_generators_own(count, dtype):
    whole, pieced = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    expected = torch.randn((count,), generator=whole, dtype=dtype)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pieces, "MOST_VALUES", 64)
        assert torch.equal(draw_noise((count,), pieced, dtype=dtype), expected)
    assert torch.equal(whole.get_state(), pieced.get_state())


def test_cancel_at_every_check(small_pieces):
    whole = Reporter()
    begin(whole)
    assert whole.checks > 2 * GEOMETRY.video_tokens * 128 // PIECE
    for at in (1, 2, whole.checks // 3, whole.checks // 2, whole.checks):
        stopped = Reporter(at)
        with pytest.raises(Cancelled):
            begin(stopped)
        assert stopped.checks == at


def test_little_is_computed_between_two_checks(small_pieces):
    work = Work()
    with work:
        begin(Reporter(on_check=work.checked))
    assert work.total > 5 * GEOMETRY.video_tokens * 128
    # Masks and positions, a few values a token, are made at once.
    assert work.longest < GEOMETRY.video_tokens * 128 / 3
