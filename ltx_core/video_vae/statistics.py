"""Mean and spread of every latent channel, which make latents roughly unit normal for the transformer."""

import torch
from torch import Tensor, nn

from ..errors import CheckpointError

_NAMES = ("mean-of-means", "std-of-means")


class PerChannelStatistics(nn.Module):
    """Latents (B, C, F, H, W) <-> normalised latents of the same shape and dtype, with one mean and std per channel.

    The tensors are `mean-of-means` and `std-of-means`, both (C,).  They have no sensible default: loading without
    them, or with values that are not finite or a std that is not above zero, is a CheckpointError even when not strict.
    """

    def __init__(self, channels: int, *, dtype=None, device=None):
        super().__init__()
        for name in _NAMES:
            self.register_buffer(name, torch.empty(channels, dtype=dtype, device=device))

    def _of(self, name: str, x: Tensor) -> Tensor:
        return self.get_buffer(name).to(x).view(1, -1, 1, 1, 1)

    def normalize(self, latent: Tensor) -> Tensor:
        """What the VAE encodes to -> what the transformer works on."""
        return (latent - self._of("mean-of-means", latent)) / self._of("std-of-means", latent)

    def unnormalize(self, latent: Tensor) -> Tensor:
        """What the transformer works on -> what the decoder and the latent upsampler take."""
        return latent * self._of("std-of-means", latent) + self._of("mean-of-means", latent)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in _NAMES:
            value = state_dict.get(prefix + name)
            if value is None:
                raise CheckpointError(
                    f"the video VAE's latent statistics {prefix + name} are missing, and without them every picture "
                    "comes out wrong; use a checkpoint or video VAE file that has vae.per_channel_statistics"
                )
            if value.is_meta:
                continue
            if not torch.isfinite(value).all() or (name == "std-of-means" and not (value > 0).all()):
                raise CheckpointError(
                    f"the video VAE's latent statistics {prefix + name} hold values that are not finite or, for the "
                    "std, not above zero; the file is damaged: download it again"
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
