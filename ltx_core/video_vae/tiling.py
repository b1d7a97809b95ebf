"""Decoding in overlapping tiles, so that the decoder never holds more than one tile of the video.

The layout is the vendor's (model/video_vae/tiling.py and `tiled_decode`): tiles are cut in latent cells, their
pixels fade into each other over the overlaps, and one group of tiles in time is finished before the next begins.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from .frame_writer import FrameWriter
from .params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR


@dataclass(frozen=True)
class Tiling:
    """Sizes of tiles and of their overlaps, in pixels and frames of the decoded video.

    `spatial_tile` is the tile's size along the longer side of the picture; the shorter side gets the same share of
    its length.  GeometryError if the sizes are not what whole latent cells can make.
    """

    spatial_tile: int = 768
    spatial_overlap: int = 64
    temporal_tile: int = 80
    temporal_overlap: int = 24

    def __post_init__(self) -> None:
        _check_axis("spatial", "pixels", self.spatial_tile, self.spatial_overlap, SPATIAL_FACTOR)
        _check_axis("temporal", "frames", self.temporal_tile, self.temporal_overlap, TEMPORAL_FACTOR)


def _check_axis(axis: str, unit: str, tile: int, overlap: int, factor: int) -> None:
    if tile < 2 * factor or tile % factor:
        raise GeometryError(
            f"{axis}_tile is {tile} {unit}, expected a multiple of {factor} that is at least {2 * factor}; "
            f"try {max(2 * factor, tile // factor * factor)}"
        )
    if overlap < 0 or overlap % factor or overlap >= tile:
        raise GeometryError(
            f"{axis}_overlap is {overlap} {unit}, expected a multiple of {factor} below {axis}_tile ({tile}); "
            f"try {min(max(0, overlap // factor * factor), tile - factor)}"
        )


DEFAULT_TILING = Tiling()  # the vendor's since 1.2
VENDOR_1_0_TILING = Tiling(spatial_tile=512, spatial_overlap=64, temporal_tile=64, temporal_overlap=24)


def even_tiling(frames: int, height: int, width: int, parts: int) -> Tiling:
    """The largest tiles that divide the longer side of a picture into `parts`, each of the video's whole length.

    Overlaps are decoded twice: large tiles of even size cost the least.  Sizes in pixels and frames.
    """
    overlap = DEFAULT_TILING.spatial_overlap
    tile = -(-(max(height, width) + (parts - 1) * overlap) // parts)
    tile = max(2 * SPATIAL_FACTOR, overlap + SPATIAL_FACTOR, -(-tile // SPATIAL_FACTOR) * SPATIAL_FACTOR)
    return Tiling(tile, overlap, max(2 * TEMPORAL_FACTOR, -(-frames // TEMPORAL_FACTOR) * TEMPORAL_FACTOR), 0)


@dataclass(frozen=True)
class AxisTile:
    """One tile along one axis: what it reads of the latent, what it writes of the video, and how strongly."""

    latent: slice
    output: slice
    weight: Tensor  # (output length,) float32; over all tiles of the axis they sum to 1 everywhere


Decoder = Callable[[Tensor], Tensor]
Plan = tuple[list[AxisTile], list[AxisTile], list[AxisTile]]  # along frames, height and width


def _intervals(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """[start, stop) of tiles of `size` cells that share `overlap` cells; the last one ends at `length`."""
    if length <= size:
        return [(0, length)]
    step = size - overlap
    starts = [index * step for index in range((length + size - 2 * overlap - 1) // step)]
    return [(start, min(start + size, length)) for start in starts]


def _fade(length: int, left: int, right: int, *, left_from_zero: bool) -> Tensor:
    """A weight that rises over `left` entries, is 1, and falls over `right`; the ramps leave out 0 and 1 themselves.

    `left_from_zero` starts the rise at 0: the first frame of a later tile is decoded as if the video began there.
    """
    weight = torch.ones(length, dtype=torch.float64)
    if left:
        offset = 0 if left_from_zero else 1
        weight[:left] *= (torch.arange(left, dtype=torch.float64) + offset) / (left + offset)
    if right:
        weight[length - right :] *= torch.arange(right, 0, -1, dtype=torch.float64) / (right + 1)
    return weight


def _sum_to_one(length: int, parts: list[tuple[slice, slice, Tensor]]) -> list[AxisTile]:
    """Divides the weights of one axis by their sum.

    A tile's weight is the product of its axes' weights and tiles form a grid, so this is the vendor's division of the
    blended pixels by the blended weights, without a buffer for the weights.
    """
    total = torch.zeros(length, dtype=torch.float64)
    for _, output, weight in parts:
        total[output] += weight
    return [AxisTile(latent, output, (weight / total[output]).float()) for latent, output, weight in parts]


def spatial_tiles(length: int, longer: int, tiling: Tiling) -> list[AxisTile]:
    """Tiles of one picture axis of `length` latent cells; `longer` is the length of the longer picture axis."""
    overlap = tiling.spatial_overlap // SPATIAL_FACTOR
    size = max(2, overlap + 1, round(tiling.spatial_tile // SPATIAL_FACTOR * length / longer))
    parts = []
    for start, stop in _intervals(length, size, overlap):
        output = slice(start * SPATIAL_FACTOR, stop * SPATIAL_FACTOR)
        left = overlap * SPATIAL_FACTOR if start > 0 else 0
        right = overlap * SPATIAL_FACTOR if stop < length else 0
        weight = _fade(output.stop - output.start, left, right, left_from_zero=False)
        parts.append((slice(start, stop), output, weight))
    return _sum_to_one(length * SPATIAL_FACTOR, parts)


def temporal_tiles(length: int, tiling: Tiling) -> list[AxisTile]:
    """Tiles of `length` latent frames.  All but the first begin one latent frame early: the decoder makes one frame
    of its first latent frame and eight of every other, so the first frames of a later tile only warm it up."""
    overlap = tiling.temporal_overlap // TEMPORAL_FACTOR
    parts = []
    for start, stop in _intervals(length, tiling.temporal_tile // TEMPORAL_FACTOR, overlap):
        begin = max(0, start - 1)
        output = slice(begin * TEMPORAL_FACTOR, 1 + (stop - 1) * TEMPORAL_FACTOR)
        left = 1 + overlap * TEMPORAL_FACTOR if start > 0 else 0
        right = overlap * TEMPORAL_FACTOR if stop < length else 0
        weight = _fade(output.stop - output.start, left, right, left_from_zero=True)
        parts.append((slice(begin, stop), output, weight))
    return _sum_to_one(1 + (length - 1) * TEMPORAL_FACTOR, parts)


def _plan(shape: tuple[int, ...], tiling: Tiling) -> Plan:
    """The tiles along frames, height and width of a latent of `shape` (..., F, H, W)."""
    frames, height, width = shape[-3:]
    longer = max(height, width)
    return (
        temporal_tiles(frames, tiling),
        spatial_tiles(height, longer, tiling),
        spatial_tiles(width, longer, tiling),
    )


def tile_count(shape: tuple[int, ...], tiling: Tiling) -> int:
    """How many tiles `decode_tiled` decodes for a latent of `shape` (1, C, F, H, W)."""
    return math.prod(len(tiles) for tiles in _plan(shape, tiling))


def largest_tile(shape: tuple[int, ...], tiling: Tiling) -> tuple[int, int, int]:
    """Frames, height and width, in pixels, of the largest tile that `decode_tiled` decodes."""
    frames, height, width = (
        max(tile.output.stop - tile.output.start for tile in tiles) for tiles in _plan(shape, tiling)
    )
    return frames, height, width


def _writer(latent: Tensor) -> FrameWriter:
    if latent.ndim != 5 or latent.shape[0] != 1:
        raise GeometryError(
            f"cannot decode a latent of shape {tuple(latent.shape)}, expected one video (1, channels, frames, height, "
            "width); decode the videos of a batch one by one"
        )
    _, _, frames, height, width = latent.shape
    size = (1 + (frames - 1) * TEMPORAL_FACTOR, height * SPATIAL_FACTOR, width * SPATIAL_FACTOR)
    return FrameWriter(*size, latent.device)


@torch.no_grad()
def decode_whole(decoder: Decoder, latent: Tensor, reporter: Reporter = SILENT) -> Tensor:
    """Normalised latent (1, C, F, H, W) -> frames (1 + 8*(F-1), 32*H, 32*W, 3), float32 in 0..1 on the CPU."""
    writer = _writer(latent)
    reporter.check_cancel()
    writer.write(decoder(latent)[0], 0)
    reporter.step(1, 1)
    return writer.finish()


@torch.no_grad()
def decode_tiled(
    decoder: Decoder,
    latent: Tensor,
    tiling: Tiling = DEFAULT_TILING,
    reporter: Reporter = SILENT,
    decode_all: Callable[[Decoder, Sequence[Tensor]], Iterator[Tensor]] = map,
) -> Tensor:
    """As `decode_whole`, tile by tile.

    On the latent's device there are one tile and, in float32, the frames of the current tiles in time; finished frames
    go straight into the result.  Reports one step per tile.
    `decode_all` gives the decoder's results for the parts of the latent, in their order and on their device.
    """
    writer, plan = _writer(latent), _plan(latent.shape, tiling)
    decoded = decode_all(decoder, [latent[:, :, t.latent, y.latent, x.latent] for t, y, x in product(*plan)])
    blend_tiles(plan, lambda t, y, x: next(decoded)[0], writer.write, latent.device, reporter)
    return writer.finish()


def blend_tiles(
    plan: Plan,
    decode: Callable[[AxisTile, AxisTile, AxisTile], Tensor],
    write: Callable[[Tensor, int], None],
    device: torch.device,
    reporter: Reporter = SILENT,
) -> None:
    """Decodes each tile of a plan to pixels (3, frames, height, width) and blends them by its weights.

    `write` is given finished frames (3, n, height, width), float32, and the number of the first.
    """
    in_time, in_height, in_width = plan
    height, width = (tiles[-1].output.stop for tiles in (in_height, in_width))
    done, total = 0, len(in_time) * len(in_height) * len(in_width)
    carried = None
    for index, t in enumerate(in_time):
        frames = t.output.stop - t.output.start
        blended = torch.zeros((PIXEL_CHANNELS, frames, height, width), dtype=torch.float32, device=device)
        if carried is not None:
            blended[:, : carried.shape[1]] = carried
        for y in in_height:
            for x in in_width:
                reporter.check_cancel()
                pixels = decode(t, y, x) * t.weight.to(device)[:, None, None]
                pixels.mul_(y.weight.to(device)[:, None]).mul_(x.weight.to(device))
                blended[:, :, y.output, x.output] += pixels
                done += 1
                reporter.step(done, total)
        # Frames from the next tiles' start on are still to be blended with those.
        finished = in_time[index + 1].output.start - t.output.start if index + 1 < len(in_time) else frames
        write(blended[:, :finished], t.output.start)
        carried = blended[:, finished:].clone()
        del blended, pixels
