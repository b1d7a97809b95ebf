"""Tiled encoding: every cell is given once, by a tile that saw enough around it, and equals that of the whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.progress import SILENT
from ltx_duo.ltx_core.video_vae import Tiling
from ltx_duo.ltx_core.video_vae.encoding_tiles import encode_tiled, largest_tile

DEMO = Path(__file__).resolve().parents[3] / "demo_model/files/checkpoints/ltx-2.3-demo-dev.safetensors"


@st.composite
def tilings(draw) -> Tiling:
    spatial, temporal = draw(st.integers(2, 8)), draw(st.integers(2, 5))
    return Tiling(
        spatial * 32, draw(st.integers(0, spatial - 1)) * 32, temporal * 8, draw(st.integers(0, temporal - 1)) * 8
    )


def means(pixels: torch.Tensor) -> torch.Tensor:
    """A stand-in encoder: the mean of each cell; the first latent frame is one frame, every other eight."""
    cells = F.avg_pool3d(pixels.float(), (1, 32, 32))
    rest = [F.avg_pool3d(cells[:, :, 1:], (8, 1, 1))] if cells.shape[2] > 1 else []
    return torch.cat((cells[:, :, :1], *rest), dim=2).to(pixels.dtype)


def drawn(cells: torch.Tensor) -> torch.Tensor:
    """Pixels (1, 3, F, H, W) of cells (3, F', H', W'), each of one colour."""
    pixels = cells[None].repeat_interleave(8, dim=2)[:, :, 7:]
    return pixels.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)


@settings(max_examples=40, deadline=None)
@given(tilings(), st.tuples(st.integers(1, 8), st.integers(1, 12), st.integers(1, 12)))
def test_every_cell_is_given_by_a_tile_that_saw_enough_around_it(tiling, cells):
    """Each cell says where it is, so that a tile knows how far each of its cells is from an edge that is not the
    video's: in time from its beginning, as the encoder looks back alone."""
    places = torch.stack(torch.meshgrid(*(torch.arange(float(count)) for count in cells), indexing="ij"))
    pixels, sizes, steps = drawn(places), [], []

    def encode(part):
        sizes.append(part.shape[2:])
        own = means(part)[0]
        distances = []
        for axis, count in enumerate(cells):
            line, length = own[axis].movedim(axis, 0).flatten(1)[:, 0], own.shape[1 + axis]
            index = torch.arange(float(length))
            before = index if line[0] > 0 else torch.full((length,), 99.0)
            behind = index.flip(0) if axis and line[-1] < count - 1 else torch.full((length,), 99.0)
            view = [-1 if other == axis else 1 for other in range(3)]
            distances.append(torch.minimum(before, behind).view(view).expand(own.shape[1:]))
        return torch.cat((own, torch.stack(distances)))[None]

    class Reporter:
        check_cancel = SILENT.check_cancel

        def step(self, done, total, video_x0=None):
            steps.append((done, total))

    latent = encode_tiled(encode, pixels, tiling, reporter=Reporter())[0]
    assert torch.equal(latent[:3], places)
    assert steps == [(number + 1, len(sizes)) for number in range(len(sizes))]
    largest = tuple(max(size[axis] for size in sizes) for axis in range(3))
    assert largest == largest_tile(pixels.shape, tiling)
    assert largest[0] <= tiling.temporal_tile + 1 and max(largest[1:]) <= max(64, tiling.spatial_tile)
    assert latent[3].min() >= 1 + max(tiling.temporal_overlap, min(24, tiling.temporal_tile // 16 * 8)) // 8
    longer = 1 + cells[1:].index(max(cells[1:]))
    overlap = max(tiling.spatial_overlap, min(128, tiling.spatial_tile // 64 * 32)) // 32
    assert latent[3 + longer].min() >= overlap // 2


def test_without_tiles_the_pixels_are_encoded_at_once():
    pixels, calls = torch.rand(1, 3, 17, 64, 96), []
    latent = encode_tiled(lambda part: calls.append(part) or means(part), pixels)
    assert torch.equal(calls[0], pixels) and len(calls) == 1 and torch.equal(latent, means(pixels))
    assert largest_tile(pixels.shape, None) == (17, 64, 96)
    assert len(calls) == 1 and encode_tiled(means, pixels.bfloat16(), Tiling(64, 32, 16, 8)).dtype == torch.bfloat16


def test_cancelling_is_looked_for_before_every_tile():
    done = []

    class Reporter:
        def check_cancel(self):
            if len(done) == 3:
                raise KeyboardInterrupt

        def step(self, number, total, video_x0=None):
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        encode_tiled(means, torch.zeros(1, 3, 1, 128, 256), Tiling(64, 32, 16, 8), reporter=Reporter())
    assert done == [1, 2, 3]


@pytest.fixture(scope="module")
def encoder():
    """The trained miniature's, which has the official encoder's layers."""
    return load_component(Checkpoint.open(DEMO), Component.VIDEO_ENCODER).float()


@pytest.mark.parametrize(
    ("size", "tiling", "bar"),
    [
        ((9, 64, 384), Tiling(256, 64, 80, 24), 0.02),  # as much overlap as half of a tile
        ((33, 64, 64), Tiling(256, 64, 24, 8), 0.4),  # 0.1 in the middle of many, 0.2 at most
        ((57, 64, 64), Tiling(256, 64, 48, 8), 0.02),
    ],
)
def test_tiles_equal_the_whole_but_for_a_little(encoder, size, tiling, bar):
    """What is left is what the encoder sees beyond the overlap; a tile without any is off by most of its deviation."""
    pixels = torch.rand(1, 3, *size) - 0.5
    for axis in (2, 3, 4):
        pixels = pixels.cumsum(axis)
    pixels = pixels / pixels.abs().max()
    whole, tiled = encode_tiled(encoder, pixels), encode_tiled(encoder, pixels, tiling)
    error = float((tiled - whole).square().mean().sqrt() / whole.std())
    assert 0 < error < bar
