"""The video VAE: pixels <-> latents, 32 x 32 pixels and 8 frames to one latent cell of 128 channels."""

from .decoder import VideoDecoder
from .encoder import VideoEncoder
from .params import VideoVAEParams
from .statistics import PerChannelStatistics
from .tiling import DEFAULT_TILING, VENDOR_1_0_TILING, Tiling, decode_tiled, decode_whole, tile_count

__all__ = [
    "DEFAULT_TILING",
    "VENDOR_1_0_TILING",
    "PerChannelStatistics",
    "Tiling",
    "VideoDecoder",
    "VideoEncoder",
    "VideoVAEParams",
    "decode_tiled",
    "decode_whole",
    "tile_count",
]
