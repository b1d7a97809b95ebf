"""How much memory the diffusion decoder's activations need, as `memory_estimates` has it of all other parts."""

from math import prod

from ..video_vae.diffusion_params import DiffusionDecoderParams
from ..video_vae.diffusion_tiling import diffusion_tiles
from ..video_vae.neighborhood import MOST_PAIRS
from ..video_vae.params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR
from ..video_vae.tiling import Tiling
from .memory_estimates import COPIES, Copies


def diffusion_decoder(
    params: DiffusionDecoderParams,
    frames: int,
    height: int,
    width: int,
    tiling: Tiling | None = None,
    itemsize: int = 2,
    copies: Copies = COPIES,
) -> float:
    """Bytes that decoding `frames` x `height` x `width` pixels takes, in tiles or in one piece.

    The features of the whole video stay while its tiles are made, and of these whole frames in float32.
    """
    latent = (frames - 1) // TEMPORAL_FACTOR + 1, -(-height // SPATIAL_FACTOR), -(-width // SPATIAL_FACTOR)
    latent = tuple(map(max, latent, params.smallest_latent))
    *before, last = params.upsamplings
    in_time, in_height, in_width = (prod(axis) for axis in zip(*(own.stride for own in before), strict=True))
    # Of the first latent frame one frame is left, and behind the last one it is repeated.
    cells = 1 + (latent[0] - 1) * in_time, latent[1] * in_height, latent[2] * in_width
    ghosts = params.ghost_frames * in_time
    features = (cells[0] + ghosts) * cells[1] * cells[2] * params.stages[-1].channels
    tiles = diffusion_tiles(params, cells, tiling)
    tile = [max(own.latent.stop - own.latent.start for own in axis) for axis in tiles]
    context = (tile[0] + ghosts) * tile[1] * tile[2] * prod(last.stride) * params.final.channels
    peak = max(features * copies.diffusion_features, features + context * copies.diffusion_context)
    blended = min(copies.blended * max(own.output.stop - own.output.start for own in tiles[0]), frames)
    pixels = blended * latent[1] * latent[2] * SPATIAL_FACTOR**2 * PIXEL_CHANNELS
    mask = MOST_PAIRS * (itemsize + 2)  # of a block's attention: itself, and the two of booleans that it is made of
    return copies.fixed + mask + peak * itemsize + pixels * 4
