"""Pixels to latents."""

from functools import partial

from torch import Tensor, nn

from ..errors import GeometryError
from .layers import Downsample, ResidualBlocks, VideoConv3d, patchify
from .params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR, ResidualStage, VideoVAEParams
from .statistics import PerChannelStatistics


class VideoEncoder(nn.Module):
    """The video VAE's encoder (vendor: `VideoEncoder` in model/video_vae), causal: frame 0 alone makes latent frame 0.

    It also holds the latent statistics, since it returns normalised latents.
    """

    def __init__(self, params: VideoVAEParams, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        conv = partial(VideoConv3d, causal=True, padding=params.encoder_padding, ops=ops, **factory)
        channels = params.encoder_base_channels
        self.per_channel_statistics = PerChannelStatistics(params.latent_channels, **factory)
        self.conv_in = conv(PIXEL_CHANNELS * params.patch_size**2, channels)
        self.down_blocks = nn.ModuleList()
        for block in params.encoder_blocks:
            if isinstance(block, ResidualStage):
                self.down_blocks.append(ResidualBlocks(channels, block.layers, conv))
            else:
                self.down_blocks.append(Downsample(channels, channels * block.multiplier, block.stride, conv))
                channels *= block.multiplier
        # One more channel than the latent has: a log variance shared by all, which only training uses.
        self.conv_out = conv(channels, params.latent_channels + 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, F, H, W) in [-1, 1] -> normalised latent means (B, C, 1 + (F-1)//8, H/32, W/32), same dtype.

        Frames beyond the last 8n+1 are left out, as the vendor does.  GeometryError unless there are three channels
        and height and width are multiples of 32.
        """
        _, channels, frames, height, width = pixels.shape
        if channels != PIXEL_CHANNELS or height % SPATIAL_FACTOR or width % SPATIAL_FACTOR:
            raise GeometryError(
                f"cannot encode a picture of {channels} channels and {width}x{height} pixels, expected 3 channels "
                f"and width and height that are multiples of {SPATIAL_FACTOR}; resize or crop it first"
            )
        x = pixels[:, :, : frames - (frames - 1) % TEMPORAL_FACTOR]
        x = self.conv_in(patchify(x, self.params.patch_size))
        for block in self.down_blocks:
            x = block(x)
        means = self.conv_out(x, activate=True)[:, : self.params.latent_channels]
        return self.per_channel_statistics.normalize(means)
