"""The latent upsampler between the two stages."""

from .model import LatentUpsampler, upsample_latent
from .params import UpsamplerParams

__all__ = ["LatentUpsampler", "UpsamplerParams", "upsample_latent"]
