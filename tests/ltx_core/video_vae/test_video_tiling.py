"""Tiled decoding: every pixel is written, weights sum to one, and tiles of a local decoder equal the whole."""

from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.ltx_core.video_vae import (
    DEFAULT_TILING,
    VENDOR_1_0_TILING,
    Tiling,
    decode_tiled,
    decode_whole,
    tile_count,
)
from ltx_duo.ltx_core.video_vae.tiling import even_tiling, spatial_tiles, temporal_tiles

QUICK = settings(max_examples=40, deadline=None)


@st.composite
def tilings(draw, largest: int = 12) -> Tiling:
    spatial, temporal = draw(st.integers(2, largest)), draw(st.integers(2, largest))
    return Tiling(
        spatial * 32, draw(st.integers(0, spatial - 1)) * 32, temporal * 8, draw(st.integers(0, temporal - 1)) * 8
    )


def nearest(latent: torch.Tensor) -> torch.Tensor:
    """A stand-in decoder that repeats each latent cell over its 32x32 pixels and 8 frames (the first: 1 frame)."""
    pixels = latent[:, :3].repeat_interleave(8, dim=2)[:, :, 7:]
    return pixels.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)


@contextmanager
def poisoned_memory():
    """New tensors that are left uninitialised hold NaN, so that what is never written shows."""
    real = torch.empty
    with mock.patch.object(torch, "empty", lambda *args, **kwargs: real(*args, **kwargs).fill_(torch.nan)):
        yield


def check_axis(tiles, latent_length: int, output_length: int, size: int) -> None:
    total = torch.zeros(output_length)
    assert tiles[0].latent.start == 0 and tiles[-1].latent.stop == latent_length
    for tile in tiles:
        assert 0 < tile.latent.stop - tile.latent.start <= size
        assert len(tile.weight) == tile.output.stop - tile.output.start
        assert (tile.weight >= 0).all()
        total[tile.output] += tile.weight
    for before, after in zip(tiles, tiles[1:], strict=False):
        assert before.latent.start <= after.latent.start <= before.latent.stop < after.latent.stop
    torch.testing.assert_close(total, torch.ones(output_length), rtol=0, atol=2e-6)


@QUICK
@given(tilings(), st.integers(1, 80), st.integers(1, 80))
def test_spatial_tiles_cover_the_axis(tiling, length, other):
    longer = max(length, other)
    size = max(2, tiling.spatial_overlap // 32 + 1, round(tiling.spatial_tile / 32 * length / longer))
    check_axis(spatial_tiles(length, longer, tiling), length, 32 * length, size)


@QUICK
@given(tilings(), st.integers(1, 80))
def test_temporal_tiles_cover_the_axis(tiling, length):
    tiles = temporal_tiles(length, tiling)
    check_axis(tiles, length, 8 * length - 7, tiling.temporal_tile // 8 + 1)
    for tile in tiles[1:]:
        assert tile.weight[0] == 0, "the first frame of a later tile only warms the decoder up"


def test_ramps():
    tiles = spatial_tiles(5, 5, Tiling(96, 32, 16, 8))
    assert [(t.latent.start, t.latent.stop) for t in tiles] == [(0, 3), (2, 5)]
    ramp = torch.arange(1, 33) / 33
    torch.testing.assert_close(tiles[0].weight, torch.cat([torch.ones(64), ramp.flip(0)]))
    torch.testing.assert_close(tiles[1].weight, torch.cat([ramp, torch.ones(64)]))
    tiles = temporal_tiles(5, Tiling(64, 0, 24, 8))
    assert [(t.latent.start, t.latent.stop) for t in tiles] == [(0, 3), (1, 5)]
    assert [(t.output.start, t.output.stop) for t in tiles] == [(0, 17), (8, 33)]
    ramp = torch.arange(9) / 9
    torch.testing.assert_close(tiles[1].weight, torch.cat([ramp, torch.ones(16)]))
    torch.testing.assert_close(tiles[0].weight, torch.cat([torch.ones(9), ramp[1:].flip(0)]))


def test_layout_of_the_vendors_example():
    """121 frames of 1024 x 1536 pixels with the vendor's 1.0 sizes."""
    bounds = [(t.latent.start, t.latent.stop) for t in spatial_tiles(32, 48, VENDOR_1_0_TILING)]
    assert bounds == [(0, 11), (9, 20), (18, 29), (27, 32)]
    bounds = [(t.latent.start, t.latent.stop) for t in spatial_tiles(48, 48, VENDOR_1_0_TILING)]
    assert bounds == [(0, 16), (14, 30), (28, 44), (42, 48)]
    in_time = temporal_tiles(16, VENDOR_1_0_TILING)
    assert [(t.latent.start, t.latent.stop) for t in in_time] == [(0, 8), (4, 13), (9, 16)]
    assert [(t.output.start, t.output.stop) for t in in_time] == [(0, 57), (32, 97), (72, 121)]
    assert tile_count((1, 128, 16, 32, 48), VENDOR_1_0_TILING) == 48
    assert (DEFAULT_TILING.spatial_tile, DEFAULT_TILING.spatial_overlap) == (768, 64)
    assert (DEFAULT_TILING.temporal_tile, DEFAULT_TILING.temporal_overlap) == (80, 24)


@settings(max_examples=25, deadline=None)
@given(tilings(largest=4), st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 2**31))
def test_tiles_of_a_local_decoder_equal_the_whole(tiling, shape, seed):
    latent = torch.randn((1, 3, *shape), generator=torch.Generator().manual_seed(seed)) / 3
    tiles = []

    def decode(part):
        tiles.append(part.shape)
        return nearest(part)

    with poisoned_memory():
        frames = decode_tiled(decode, latent, tiling)
        whole = decode_whole(nearest, latent)
    assert frames.dtype == whole.dtype == torch.float32 and frames.device.type == "cpu"
    expected = ((nearest(latent)[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)
    torch.testing.assert_close(frames, expected, rtol=0, atol=2e-6)  # NaN anywhere fails
    assert len(tiles) == tile_count(latent.shape, tiling)
    limit = max(tiling.spatial_overlap // 32 + 1, tiling.spatial_tile // 32)
    assert all(t[2] <= tiling.temporal_tile // 8 + 1 and max(t[3:]) <= limit for t in tiles)


def test_first_frame_of_later_tiles_has_no_weight():
    latent = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(1, 3, 7, 2, 2) / 10

    def decode(part):
        pixels = nearest(part).clone()
        if part[0, 0, 0, 0, 0] > 0:
            pixels[:, :, 0] = 1e6
        return pixels

    frames = decode_tiled(decode, latent, Tiling(64, 0, 24, 8))
    torch.testing.assert_close(frames, decode_whole(nearest, latent))


def test_overlapping_tiles_fade_into_each_other():
    """A decoder that paints each tile in one brightness shows the weights themselves."""
    calls = iter([0.0, 1.0])

    def decode(part):
        return torch.full_like(nearest(part), next(calls))

    frames = decode_tiled(decode, torch.zeros(1, 3, 1, 2, 3), Tiling(64, 32, 16, 8))
    expected = torch.cat([torch.zeros(32), torch.arange(1, 33) / 33, torch.ones(32)]) / 2 + 0.5
    torch.testing.assert_close(frames, expected[None, None, :, None].expand(1, 64, 96, 3))


def test_low_precision_tiles_are_blended_in_float32():
    latent = torch.full((1, 3, 4, 2, 4), 0.3, dtype=torch.bfloat16)
    frames = decode_tiled(nearest, latent, Tiling(64, 32, 16, 8))
    torch.testing.assert_close(frames, decode_whole(nearest, latent), rtol=0, atol=1e-6)


def test_values_outside_the_range_are_clamped():
    latent = torch.tensor([-3.0, 0.0, 3.0]).view(1, 3, 1, 1, 1)
    assert decode_whole(nearest, latent)[0, 0, 0].tolist() == [0, 0.5, 1]
    assert decode_tiled(nearest, latent)[0, 0, 0].tolist() == [0, 0.5, 1]


def test_progress_and_cancel():
    class Reporter:
        def __init__(self, cancel_at):
            self.checks, self.steps, self.cancel_at = 0, [], cancel_at

        def check_cancel(self):
            self.checks += 1
            if self.checks == self.cancel_at:
                raise KeyboardInterrupt

        def step(self, done, total, video_x0=None):
            self.steps.append((done, total))

    latent, tiling = torch.zeros(1, 3, 4, 2, 4), Tiling(64, 32, 16, 8)
    count = tile_count(latent.shape, tiling)
    assert count == 9
    reporter = Reporter(cancel_at=None)
    decode_tiled(nearest, latent, tiling, reporter)
    assert reporter.steps == [(done, count) for done in range(1, count + 1)] and reporter.checks == count
    reporter = Reporter(cancel_at=3)
    with pytest.raises(KeyboardInterrupt):
        decode_tiled(nearest, latent, tiling, reporter)
    assert reporter.steps == [(1, count), (2, count)]
    reporter = Reporter(cancel_at=None)
    decode_whole(nearest, latent, reporter)
    assert reporter.steps == [(1, 1)] and reporter.checks == 1


def test_no_graph_is_kept():
    latent = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
    assert not decode_tiled(nearest, latent).requires_grad and not decode_whole(nearest, latent).requires_grad


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((48, 0, 80, 24), "spatial_tile is 48"),
        ((32, 0, 80, 24), "spatial_tile is 32"),
        ((768, 48, 80, 24), "spatial_overlap is 48"),
        ((768, 768, 80, 24), "spatial_overlap is 768.*try 736"),
        ((768, -32, 80, 24), "spatial_overlap is -32.*try 0"),
        ((768, 64, 8, 0), "temporal_tile is 8"),
        ((768, 64, 84, 24), "temporal_tile is 84.*try 80"),
        ((768, 64, 80, 20), "temporal_overlap is 20.*try 16"),
        ((768, 64, 16, 16), "temporal_overlap is 16.*try 8"),
    ],
)
def test_impossible_sizes(sizes, words):
    with pytest.raises(GeometryError, match=words):
        Tiling(*sizes)


@pytest.mark.parametrize("decode", [decode_whole, decode_tiled])
def test_one_video_at_a_time(decode):
    with pytest.raises(GeometryError, match="one video"):
        decode(nearest, torch.zeros(2, 3, 1, 2, 2))


@given(st.integers(1, 300), st.integers(2, 60), st.integers(2, 60), st.integers(2, 4))
def test_even_tiles_divide_the_longer_side(frames, height, width, parts):
    """Into at most that many, each of the video's whole length, and no tile is much smaller than another."""
    tiling = even_tiling(frames, height * 32, width * 32, parts)
    longer = max(height, width)
    tiles = spatial_tiles(longer, longer, tiling)
    assert len(tiles) <= parts
    assert len(temporal_tiles((frames - 1) // 8 + 1, tiling)) == 1
    if longer > 8 * parts:
        sizes = [tile.latent.stop - tile.latent.start for tile in tiles]
        assert len(sizes) == parts and max(sizes) - min(sizes) <= parts
