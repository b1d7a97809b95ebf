"""The diffusion decoder in overlapping tiles of its last two stages, whose memory grows with the pixels."""

import torch
from torch import Tensor

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from .diffusion_decoder import DiffusionVideoDecoder, pixel_size
from .diffusion_params import DiffusionDecoderParams
from .frame_writer import FrameWriter
from .params import SPATIAL_FACTOR
from .tiling import AxisTile, Plan, Tiling, blend_tiles

# The vendor's overlaps are as wide as what the final stage's blocks see in all: 160 pixels, 40 frames.
DIFFUSION_TILING = Tiling(spatial_tile=768, spatial_overlap=160, temporal_tile=80, temporal_overlap=40)


@torch.no_grad()
def decode_by_diffusion(
    decoder: DiffusionVideoDecoder,
    latent: Tensor,
    generator: torch.Generator | None = None,
    tiling: Tiling | None = DIFFUSION_TILING,
    reporter: Reporter = SILENT,
) -> Tensor:
    """Normalised latent (1, C, F, H, W) -> frames (1 + 8*(F-1), 32*H, 32*W, 3), float32 in 0..1 on the CPU.

    tiling None decodes in one piece.  Noise is drawn from `generator` tile by tile, in the order of frames, rows and
    columns: other tiles mean other noise, of which little is left in the picture.  Reports one step per tile.
    """
    if latent.ndim != 5 or latent.shape[0] != 1:
        raise GeometryError(
            f"cannot decode a latent of shape {tuple(latent.shape)}, expected one video (1, channels, frames, height, "
            "width); decode the videos of a batch one by one"
        )
    whole, margins = decoder.enlarged(latent)
    frames, height, width = pixel_size(latent)
    top, left = (margin * SPATIAL_FACTOR for margin in margins)
    writer = FrameWriter(frames, height, width, latent.device)
    reporter.check_cancel()
    features = decoder.features(whole)
    cells = (features.shape[1] - decoder.ghost_cells, *features.shape[2:4])

    def decode(t: AxisTile, y: AxisTile, x: AxisTile) -> Tensor:
        ends = t.latent.stop == cells[0]
        time = slice(t.latent.start, None) if ends else t.latent
        part = features[:, time, y.latent, x.latent]
        return decoder.pixels(part, generator, begins=t.latent.start == 0, ends=ends)[0]

    def write(pixels: Tensor, start: int) -> None:
        writer.write(pixels[:, : max(0, frames - start), top : top + height, left : left + width], start)

    blend_tiles(diffusion_tiles(decoder.params, cells, tiling), decode, write, latent.device, reporter)
    return writer.finish()


def diffusion_tiles(params: DiffusionDecoderParams, cells: tuple[int, int, int], tiling: Tiling | None) -> Plan:
    """Tiles along frames, height and width of `cells`, of which each is stride x patch pixels of the last upsampling.

    As with the other decoder, the shorter side of the picture gets the same share of its length as the longer one.
    """
    frames, *stride = params.upsamplings[-1].stride
    sides = [step * params.patch_size for step in stride]
    smallest = params.smallest_tile
    longer = max(cells[1:])
    if tiling is None:
        sizes, overlaps = cells, (0, 0, 0)
    else:
        shares = [round(tiling.spatial_tile // side * own / longer) for own, side in zip(cells[1:], sides, strict=True)]
        sizes = (tiling.temporal_tile // frames, *shares)
        overlaps = (tiling.temporal_overlap // frames, *(tiling.spatial_overlap // side for side in sides))
    axes = zip(cells, sizes, overlaps, smallest, (frames, *sides), (True, False, False), strict=True)
    return tuple(_tiles(*axis) for axis in axes)


def _tiles(length: int, size: int, overlap: int, smallest: int, pixels: int, time: bool) -> list[AxisTile]:
    """Tiles of `size` cells that share `overlap`, fading into each other evenly; a rest that is too short to stand
    alone belongs to the tile before it.  `pixels` is what a cell becomes; the first one in `time` becomes one frame."""
    size = max(size, smallest, 2 * overlap)
    starts = list(range(0, length, size - overlap)) if length > size else [0]
    while len(starts) > 1 and length - starts[-1] < max(smallest, overlap + 1):
        starts.pop()
    fewer = pixels - 1 if time else 0
    tiles = []
    for start in starts:
        stop = length if start == starts[-1] else min(start + size, length)
        output = slice(max(0, start * pixels - fewer), stop * pixels - fewer)
        weight = torch.ones(output.stop - output.start)
        fade = torch.arange(overlap * pixels) / max(1, overlap * pixels)
        if start > 0:
            weight[: len(fade)] = fade
        if stop < length:
            weight[len(weight) - len(fade) :] = 1 - fade
        tiles.append(AxisTile(slice(start, stop), output, weight))
    return tiles
