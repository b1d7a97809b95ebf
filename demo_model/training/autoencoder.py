"""An encoder and a decoder that learn together, and the statistics of their latents."""

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """The engine's encoder and decoder.  While they learn, their statistics leave latents as they are."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, channels: int):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.set_statistics(torch.zeros(channels), torch.ones(channels))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Of the latents as the encoder's layers make them, each (channels,); rounded as in the model's file."""
        for side in (self.encoder, self.decoder):
            side.per_channel_statistics.get_buffer("mean-of-means").copy_(mean.bfloat16())
            side.per_channel_statistics.get_buffer("std-of-means").copy_(deviation.bfloat16())
