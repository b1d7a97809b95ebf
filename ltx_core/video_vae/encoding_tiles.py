"""Encoding in overlapping tiles, so that the encoder never holds more than one tile of the video.

The layout is that of decoding, as in the vendor's `tiled_encode`: latents fade into each other over the overlaps.
"""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .params import SPATIAL_FACTOR, TEMPORAL_FACTOR
from .tiling import AxisTile, Tiling, spatial_tiles, temporal_tiles


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
    tiles = _tiles(pixels.shape, tiling)
    latent = None
    for number, (t, y, x) in enumerate(tiles):
        reporter.check_cancel()
        window = (_frames(t.latent), _sides(y.latent), _sides(x.latent))
        made = encoder(pixels[(..., *window)].to(device))
        if len(tiles) == 1:
            latent = made
        else:
            if latent is None:
                latent = made.new_zeros(*made.shape[:2], *_cells(pixels.shape), dtype=torch.float32)
            weight = t.weight[:, None, None] * y.weight[:, None] * x.weight
            latent[:, :, t.latent, y.latent, x.latent] += made * weight.to(made.device)
        reporter.step(number + 1, len(tiles))
    return latent.to(made.dtype)


def largest_tile(shape: tuple[int, ...], tiling: Tiling | None) -> tuple[int, int, int]:
    """Frames, height and width, in pixels, of the largest tile that pixels of `shape` (..., F, H, W) are encoded in."""
    windows = [(_frames(t.latent), _sides(y.latent), _sides(x.latent)) for t, y, x in _tiles(shape, tiling)]
    return tuple(max(axis.stop - axis.start for axis in axes) for axes in zip(*windows, strict=True))


def _tiles(shape: tuple[int, ...], tiling: Tiling | None) -> list[tuple[AxisTile, AxisTile, AxisTile]]:
    frames, height, width = _cells(shape)
    if tiling is None:
        whole = (AxisTile(slice(0, count), slice(0, count), torch.ones(count)) for count in (frames, height, width))
        return [tuple(whole)]
    longer = max(height, width)
    sides = (spatial_tiles(length, longer, tiling, scale=1) for length in (height, width))
    return list(product(temporal_tiles(frames, tiling, scale=1), *sides))


def _cells(shape: tuple[int, ...]) -> tuple[int, int, int]:
    frames, height, width = shape[-3:]
    return (frames - 1) // TEMPORAL_FACTOR + 1, height // SPATIAL_FACTOR, width // SPATIAL_FACTOR


def _frames(cells: slice) -> slice:
    """The frames that latent frames are made of where the first of them stands for one frame alone."""
    return slice(cells.start * TEMPORAL_FACTOR, 1 + (cells.stop - 1) * TEMPORAL_FACTOR)


def _sides(cells: slice) -> slice:
    return slice(cells.start * SPATIAL_FACTOR, cells.stop * SPATIAL_FACTOR)
