"""Latents to pixels by one step of diffusion: LTX-2.5's other video decoder."""

import torch
from torch import Tensor, nn

from ..errors import GeometryError
from ..transformer.attention import AttentionFunction, scaled_dot_product
from ..transformer.modulation import TimestepEmbedder, timestep_embedding
from .diffusion_layers import DiffusionBlock, NeighborhoodBlock, PixelShuffle, RMSNorm, SharedModulation
from .diffusion_params import DiffusionDecoderParams
from .layers import patchify, unpatchify
from .params import PIXEL_CHANNELS, SPATIAL_FACTOR, TEMPORAL_FACTOR
from .statistics import PerChannelStatistics


class DiffusionVideoDecoder(nn.Module):
    """The vendor's `DiffusionVideoDecoder` with one step that predicts pixels; it holds the latent statistics too.

    All stages but the last two work on the whole latent (`features`); those two may take tiles of what comes out
    (`pixels`), see `diffusion_tiling.py`.
    """

    def __init__(
        self,
        params: DiffusionDecoderParams,
        *,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        shared = {"attention": attention, "ops": ops, **factory}
        final, patch = params.final, PIXEL_CHANNELS * params.patch_size**2
        self.per_channel_statistics = PerChannelStatistics(params.latent_channels, **factory)
        self.conv_in = ops.Linear(params.latent_channels, params.stages[0].channels, **factory)
        self.det_stages = nn.ModuleList(
            nn.ModuleList(NeighborhoodBlock(stage, params.head_dim, **shared) for _ in range(stage.layers))
            for stage in params.stages
        )
        self.upsamples = nn.ModuleList(
            PixelShuffle(stage.channels, upsampling, ops=ops, **factory)
            for stage, upsampling in zip(params.stages, params.upsamplings, strict=True)
        )
        self.t_embedder = TimestepEmbedder(params.time_width, ops=ops, **factory)
        self.conv_in_x_t = ops.Linear(patch, final.channels, **factory)
        self.shared_adaln = SharedModulation(final.channels, params.time_width, ops=ops, **factory)
        self.diff_blocks = nn.ModuleList(DiffusionBlock(final, params.head_dim, **shared) for _ in range(final.layers))
        self.norm_out = RMSNorm(final.channels, **factory)
        self.conv_out = ops.Linear(final.channels, patch, **factory)

    def forward(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised latent (B, C, F, H, W) -> pixels (B, 3, 1 + 8*(F-1), 32*H, 32*W) around [-1, 1], same dtype.

        The noise that pixels are made of is drawn in the latent's dtype from `generator`, on its device.
        GeometryError for a latent of another model.
        """
        whole, margins = self.enlarged(latent)
        pixels = self.pixels(self.features(whole), generator, begins=True, ends=True)
        frames, height, width = pixel_size(latent)
        top, left = (margin * SPATIAL_FACTOR for margin in margins)
        return pixels[:, :, :frames, top : top + height, left : left + width]

    def enlarged(self, latent: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The latent with room for every kernel, and how many rows above and columns left of it were added.

        As the vendor's does: the last frame, and the first and last row and column, are repeated.
        """
        if latent.ndim != 5 or latent.shape[1] != self.params.latent_channels:
            raise GeometryError(
                f"cannot decode a latent of shape {tuple(latent.shape)}, expected (batch, "
                f"{self.params.latent_channels}, frames, height, width); connect the video latent of an LTX-2 sampler"
            )
        frames, *sides = (
            max(0, least - own) for own, least in zip(latent.shape[2:], self.params.smallest_latent, strict=True)
        )
        margins = tuple(side // 2 for side in sides)
        latent = _repeated(latent, 2, 0, frames)
        for axis, side, margin in zip((3, 4), sides, margins, strict=True):
            latent = _repeated(latent, axis, margin, side - margin)
        return latent, margins

    def features(self, latent: Tensor) -> Tensor:
        """Normalised latent (B, C, F, H, W) -> what the last two stages take (B, T, H', W', C').

        Behind the video's own T - `ghost_cells` cells stand those of its last frame, repeated.
        """
        x = _repeated(self.per_channel_statistics.unnormalize(latent), 2, 0, self.params.ghost_frames)
        x = self.conv_in(x.movedim(1, -1))
        for blocks, upsample in zip(self.det_stages[:-1], self.upsamples[:-1], strict=True):
            for block in blocks:
                x = block(x)
            x = upsample(x)
        return x

    @property
    def ghost_cells(self) -> int:
        """Cells in time at the end of `features` that repeat the last frame."""
        return self.params.ghost_frames * TEMPORAL_FACTOR // self.params.upsamplings[-1].stride[0]

    def pixels(self, features: Tensor, generator: torch.Generator | None, *, begins: bool, ends: bool) -> Tensor:
        """Features, or a part of them (B, T, H', W', C') -> pixels (B, 3, frames, height, width).

        begins: the part holds the video's first frame; ends: it holds its last one and the repeated ones behind it.
        """
        context = features
        for block in self.det_stages[-1]:
            context = block(context)
        context = self.upsamples[-1](context, begins)
        if ends and self.params.ghost_frames:
            context = context[:, : -self.params.ghost_frames * TEMPORAL_FACTOR]
        size = self.params.patch_size
        batch, frames, height, width, _ = context.shape
        shape = (batch, PIXEL_CHANNELS, frames, height * size, width * size)
        where = context.device if generator is None else generator.device
        # In float32 whatever the weights have: PyTorch draws other numbers in other dtypes.
        noise = torch.randn(shape, generator=generator, dtype=torch.float32, device=where).to(context)
        x = self.conv_in_x_t(patchify(noise, size).movedim(1, -1))
        modulation = self._modulation(context)
        for block in self.diff_blocks:
            x = block(x, context, modulation)
        return unpatchify(self.conv_out(self.norm_out(x)).movedim(-1, 1), size)

    def _modulation(self, like: Tensor) -> Tensor:
        """(7, C) at time 1, where pixels are nothing but noise."""
        time = torch.full((1,), self.params.timestep_scale, device=like.device)
        return self.shared_adaln(self.t_embedder(timestep_embedding(time).to(like.dtype)))


def pixel_size(latent: Tensor) -> tuple[int, int, int]:
    """Frames, height and width of the video that a latent (B, C, F, H, W) stands for."""
    frames, height, width = latent.shape[2:]
    return 1 + (frames - 1) * TEMPORAL_FACTOR, height * SPATIAL_FACTOR, width * SPATIAL_FACTOR


def _repeated(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """The first entry of an axis `before` times more, the last one `after` times."""
    if not before and not after:
        return x
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, -1, 1)
    return torch.cat((*(first,) * before, x, *(last,) * after), dim=axis)
