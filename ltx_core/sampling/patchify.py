"""Latents <-> tokens.  The patch size is 1, so this only moves axes: one token per latent cell."""

from einops import rearrange
from torch import Tensor

from ..errors import GeometryError
from .geometry import AUDIO_BINS, LatentGeometry


def patchify_video(latent: Tensor) -> Tensor:
    """(B, 128, F, H, W) -> (B, F*H*W, 128): frames slowest, columns fastest."""
    return rearrange(latent, "b c f h w -> b (f h w) c")


def unpatchify_video(tokens: Tensor, geometry: LatentGeometry) -> Tensor:
    """(B, F*H*W, 128) -> (B, 128, F, H, W)."""
    if tokens.shape[1] != geometry.video_tokens:
        raise GeometryError(
            f"{tokens.shape[1]} video tokens do not fill {geometry.width}x{geometry.height} pixels and "
            f"{geometry.frames} frames, which have {geometry.video_tokens}; remove appended keyframe tokens first."
        )
    return rearrange(
        tokens, "b (f h w) c -> b c f h w", f=geometry.latent_frames, h=geometry.latent_height, w=geometry.latent_width
    )


def patchify_audio(latent: Tensor) -> Tensor:
    """(B, 8, T, 16) -> (B, T, 128): feature = channel * 16 + mel bin."""
    return rearrange(latent, "b c t m -> b t (c m)")


def unpatchify_audio(tokens: Tensor) -> Tensor:
    """(B, T, 128) -> (B, 8, T, 16)."""
    return rearrange(tokens, "b t (c m) -> b c t m", m=AUDIO_BINS)
