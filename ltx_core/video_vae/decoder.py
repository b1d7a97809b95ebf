"""Latents to pixels."""

from functools import partial

from torch import Tensor, nn

from ..errors import GeometryError
from .layers import ResidualBlocks, Upsample, VideoConv3d, unpatchify
from .params import PIXEL_CHANNELS, SPATIAL_FACTOR, ResidualStage, VideoVAEParams
from .statistics import PerChannelStatistics


class VideoDecoder(nn.Module):
    """The video VAE's decoder (vendor: `VideoDecoder` in model/video_vae) of LTX-2.3 and LTX-2.0.

    It also holds the latent statistics, since it takes normalised latents.
    """

    def __init__(self, params: VideoVAEParams, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        conv = partial(VideoConv3d, causal=params.causal_decoder, padding=params.decoder_padding, ops=ops, **factory)
        channels = params.decoder_bottleneck_channels
        self.per_channel_statistics = PerChannelStatistics(params.latent_channels, **factory)
        self.conv_in = conv(params.latent_channels, channels)
        self.up_blocks = nn.ModuleList()
        for block in params.decoder_blocks:
            if isinstance(block, ResidualStage):
                self.up_blocks.append(ResidualBlocks(channels, block.layers, conv))
            else:
                narrower = channels // block.multiplier
                self.up_blocks.append(Upsample(channels, narrower, block.stride, block.residual, conv))
                channels = narrower
        self.conv_out = conv(channels, PIXEL_CHANNELS * params.patch_size**2)

    def forward(self, latent: Tensor) -> Tensor:
        """Normalised latent (B, C, F, H, W) -> pixels (B, 3, 1 + 8*(F-1), 32*H, 32*W) around [-1, 1], same dtype.

        GeometryError for a latent of another model, or one too small for the decoder's padding.
        """
        if latent.ndim != 5 or latent.shape[1] != self.params.latent_channels:
            raise GeometryError(
                f"cannot decode a latent of shape {tuple(latent.shape)}, expected (batch, "
                f"{self.params.latent_channels}, frames, height, width); connect the video latent of an LTX-2 sampler"
            )
        height, width = (cells * SPATIAL_FACTOR for cells in latent.shape[-2:])
        if self.params.decoder_padding == "reflect" and min(height, width) < 2 * SPATIAL_FACTOR:
            raise GeometryError(
                f"cannot decode {width}x{height} pixels with the decoder of LTX-2.0, expected at least "
                f"{2 * SPATIAL_FACTOR} each way; choose a larger size, or if this is a tile a spatial_overlap of at "
                f"least {SPATIAL_FACTOR}"
            )
        x = self.conv_in(self.per_channel_statistics.unnormalize(latent))
        for block in self.up_blocks:
            x = block(x)
        return unpatchify(self.conv_out(x, activate=True), self.params.patch_size)
