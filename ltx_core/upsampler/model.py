"""The network that makes a latent larger, and the step that applies it between the stages."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from ..video_vae.statistics import PerChannelStatistics
from .params import NORM_GROUPS, UpsamplerParams


class ResidualBlock(nn.Module):
    """silu(x + norm2(conv2(silu(norm1(conv1(x)))))), (B, C, F, H, W) -> same."""

    def __init__(self, channels: int, *, ops=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.conv1 = ops.Conv3d(channels, channels, kernel_size=3, padding=1, **factory)
        self.norm1 = ops.GroupNorm(NORM_GROUPS, channels, **factory)
        self.conv2 = ops.Conv3d(channels, channels, kernel_size=3, padding=1, **factory)
        self.norm2 = ops.GroupNorm(NORM_GROUPS, channels, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.norm2(self.conv2(F.silu(self.norm1(self.conv1(x))))))


class BlurDownsample(nn.Module):
    """Keeps every `stride`-th pixel of x (N, C, H, W) after a fixed 5x5 binomial blur.

    The filter, [1, 4, 6, 4, 1] both ways, is also stored in the file; a stride of 1 leaves x as it is.
    """

    def __init__(self, stride: int, *, dtype=None, device=None):
        super().__init__()
        self.stride = stride
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=dtype, device=device) / 16
        self.register_buffer("kernel", torch.outer(row, row)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        channels = x.shape[1]
        kernel = self.kernel.to(x).expand(channels, -1, -1, -1)
        return F.conv2d(x, kernel, stride=self.stride, padding=2, groups=channels)


class RationalResampler(nn.Module):
    """x (N, C, H, W) -> (N, C, scale*H, scale*W), rounded up: a learned enlargement, then a blurred reduction."""

    def __init__(self, params: UpsamplerParams, *, ops=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        channels, self.enlarge = params.mid_channels, params.spatial_scale.numerator
        self.conv = ops.Conv2d(channels, channels * self.enlarge**2, kernel_size=3, padding=1, **factory)
        self.blur_down = BlurDownsample(params.spatial_scale.denominator, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.blur_down(F.pixel_shuffle(self.conv(x), self.enlarge))


class FrameShuffle(nn.Module):
    """(B, C*2, F, H, W) -> (B, C, F*2, H, W): neighbouring channels become neighbouring frames."""

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(x, "b (c p) f h w -> b c (f p) h w", p=2)


class LatentUpsampler(nn.Module):
    """The vendor's `LatentUpsampler` (model/upsampler) for height and width, or for time."""

    def __init__(self, params: UpsamplerParams, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        mid = params.mid_channels
        self.initial_conv = ops.Conv3d(params.latent_channels, mid, kernel_size=3, padding=1, **factory)
        self.initial_norm = ops.GroupNorm(NORM_GROUPS, mid, **factory)
        self.res_blocks = nn.ModuleList(ResidualBlock(mid, ops=ops, **factory) for _ in range(params.blocks_per_stage))
        if params.temporal_scale == 2:
            self.upsampler = nn.Sequential(
                ops.Conv3d(mid, 2 * mid, kernel_size=3, padding=1, **factory), FrameShuffle()
            )
        elif params.rational:
            self.upsampler = RationalResampler(params, ops=ops, **factory)
        else:
            self.upsampler = nn.Sequential(
                ops.Conv2d(mid, 4 * mid, kernel_size=3, padding=1, **factory), nn.PixelShuffle(2)
            )
        self.post_upsample_res_blocks = nn.ModuleList(
            ResidualBlock(mid, ops=ops, **factory) for _ in range(params.blocks_per_stage)
        )
        self.final_conv = ops.Conv3d(mid, params.latent_channels, kernel_size=3, padding=1, **factory)

    def forward(self, latent: Tensor, reporter: Reporter = SILENT) -> Tensor:
        """Latent as the VAE makes it, NOT normalised, (B, C, F, H, W) -> larger, same dtype; see `upsample_latent`."""
        x = F.silu(self.initial_norm(self.initial_conv(latent)))
        for step in (*self.res_blocks, self._enlarge, *self.post_upsample_res_blocks):
            reporter.check_cancel()
            x = step(x)
        return self.final_conv(x)

    def _enlarge(self, x: Tensor) -> Tensor:
        if self.params.temporal_scale == 2:
            # The first latent frame stands for one frame of video and must not become two.
            return self.upsampler(x)[:, :, 1:]
        frames = x.shape[2]
        x = self.upsampler(rearrange(x, "b c f h w -> (b f) c h w"))
        return rearrange(x, "(b f) c h w -> b c f h w", f=frames)


def upsample_latent(
    upsampler: LatentUpsampler, statistics: PerChannelStatistics, latent: Tensor, reporter: Reporter = SILENT
) -> Tensor:
    """Normalised latent (B, C, F, H, W) -> normalised latent, larger by the upsampler's scale, same dtype.

    `statistics` are the video VAE's: the upsampler works on latents that are not normalised.
    """
    channels = upsampler.params.latent_channels
    if latent.ndim != 5 or latent.shape[1] != channels:
        raise GeometryError(
            f"cannot upsample a latent of shape {tuple(latent.shape)}, expected (batch, {channels}, frames, height, "
            "width); connect the video latent of an LTX-2 sampler"
        )
    return statistics.normalize(upsampler(statistics.unnormalize(latent), reporter))
