"""Encoding in overlapping tiles, so that the encoder never holds more than one tile of the video.

Tiles lie as in decoding.  Where two overlap, each gives the cells that it saw enough of: half of the overlap in space;
in time, where the encoder looks back alone, the earlier tile gives all of it.  The vendor's 1.0 cuts like that, with an
overlap of 64 pixels; since 1.2 its tiles fade into each other.  The encoder pads with zeros, which show in two or three
cells from an edge: on the miniature's, the latent is off by a third at 64 pixels either way; at 128, by a hundredth cut
and a quarter faded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .params import SPATIAL_FACTOR, TEMPORAL_FACTOR
from .tiling import AxisTile, Tiling, spatial_tiles, temporal_tiles

LEAST_SPATIAL_OVERLAP, LEAST_TEMPORAL_OVERLAP = 128, 24  # pixels, frames; half a tile where that is less


@dataclass(frozen=True)
class Part:
    """One tile along one axis, in latent cells: those that it reads, and those that it gives."""

    read: slice
    given: slice


@torch.no_grad()
def encode_tiled(
    encoder: Callable[[Tensor], Tensor],
    pixels: Tensor,
    tiling: Tiling | None = None,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Tensor:
    """pixels (1, 3, F, H, W) in [-1, 1], 8n+1 frames and sides of whole cells -> normalised latent on `device`.

    The pixels may lie on the CPU: each tile is moved to `device` by itself.  Without `tiling` all is one tile.  Reports
    one step per tile.
    """
    tiles, latent = _tiles(pixels.shape, tiling), None
    for number, parts in enumerate(tiles):
        reporter.check_cancel()
        made = encoder(pixels[(..., *_window(parts))].to(device))
        if latent is None:
            latent = made if len(tiles) == 1 else made.new_zeros(*made.shape[:2], *_cells(pixels.shape))
        if len(tiles) > 1:
            own = tuple(slice(p.given.start - p.read.start, p.given.stop - p.read.start) for p in parts)
            latent[(..., *(p.given for p in parts))] = made[(..., *own)]
        reporter.step(number + 1, len(tiles))
    return latent


def largest_tile(shape: tuple[int, ...], tiling: Tiling | None) -> tuple[int, int, int]:
    """Frames, height and width, in pixels, of the largest tile that pixels of `shape` (..., F, H, W) are encoded in."""
    windows = [_window(parts) for parts in _tiles(shape, tiling)]
    return tuple(max(axis.stop - axis.start for axis in axes) for axes in zip(*windows, strict=True))


def _tiles(shape: tuple[int, ...], tiling: Tiling | None) -> list[tuple[Part, Part, Part]]:
    frames, height, width = _cells(shape)
    if tiling is None:
        return [tuple(Part(slice(0, count), slice(0, count)) for count in (frames, height, width))]
    longer = max(height, width)
    in_time = temporal_tiles(frames, replace(tiling, temporal_overlap=_enough(
        tiling.temporal_overlap, LEAST_TEMPORAL_OVERLAP, tiling.temporal_tile, TEMPORAL_FACTOR
    )))  # fmt: skip
    sides = []
    for length in (height, width):
        tile = tiling.spatial_tile * length // longer
        overlap = _enough(tiling.spatial_overlap, LEAST_SPATIAL_OVERLAP, tile, SPATIAL_FACTOR)
        sides.append(_cut(spatial_tiles(length, longer, replace(tiling, spatial_overlap=overlap)), behind=0.5))
    return list(product(_cut(in_time, behind=1.0), *sides))


def _enough(overlap: int, least: int, tile: int, unit: int) -> int:
    return max(overlap, min(least, tile // 2 // unit * unit))


def _cut(tiles: list[AxisTile], behind: float) -> list[Part]:
    """Each tile's own cells; of what two share, the share `behind` belongs to the earlier one."""
    reads = [tile.latent for tile in tiles]
    cuts = [after.start + int((before.stop - after.start) * behind) for before, after in pairwise(reads)]
    starts, stops = [0, *cuts], [*cuts, reads[-1].stop]
    return [Part(read, slice(*ends)) for read, *ends in zip(reads, starts, stops, strict=True)]


def _cells(shape: tuple[int, ...]) -> tuple[int, int, int]:
    frames, height, width = shape[-3:]
    return (frames - 1) // TEMPORAL_FACTOR + 1, height // SPATIAL_FACTOR, width // SPATIAL_FACTOR


def _window(parts: tuple[Part, Part, Part]) -> tuple[slice, slice, slice]:
    """The frames, rows and columns that a tile reads; of frames its first latent frame has one alone."""
    frames, *sides = (part.read for part in parts)
    frames = slice(frames.start * TEMPORAL_FACTOR, 1 + (frames.stop - 1) * TEMPORAL_FACTOR)
    return frames, *(slice(side.start * SPATIAL_FACTOR, side.stop * SPATIAL_FACTOR) for side in sides)
