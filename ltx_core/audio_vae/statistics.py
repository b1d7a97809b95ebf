"""Statistics of the audio latent: what the transformer sees has mean 0 and deviation 1."""

import torch
from torch import Tensor, nn

from .params import AudioVAEParams


class PerChannelStatistics(nn.Module):
    """Mean and deviation of every latent value of a time step, loaded from the checkpoint.

    Entry `c * latent_mel_bins + m` belongs to channel `c` and mel bin `m` (the order of audio tokens; the vendor
    applies them after patchifying).  There is no useful default: both buffers must come from a file.
    """

    def __init__(
        self, params: AudioVAEParams, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ):
        super().__init__()
        self.shape = (params.latent_channels, 1, params.latent_mel_bins)
        for name in ("mean-of-means", "std-of-means"):
            self.register_buffer(name, torch.empty(params.token_width, dtype=dtype, device=device))

    def _table(self, name: str, latent: Tensor) -> Tensor:
        return self.get_buffer(name).to(latent).view(self.shape)

    def normalize(self, latent: Tensor) -> Tensor:
        """(B, C, T, M) as the network makes it -> (B, C, T, M) normalised."""
        return (latent - self._table("mean-of-means", latent)) / self._table("std-of-means", latent)

    def unnormalize(self, latent: Tensor) -> Tensor:
        """(B, C, T, M) normalised -> (B, C, T, M) as the network knows it."""
        return latent * self._table("std-of-means", latent) + self._table("mean-of-means", latent)
