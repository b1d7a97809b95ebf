"""LTX-2.0's vocoder: HiFi-GAN with leaky ReLU, mel -> 24 kHz, without bandwidth extension."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .generator import Generator, same_padding_conv
from .params import VocoderParams

LEAK = 0.1
_OUTPUT_LEAK = 0.01  # the last activation keeps PyTorch's default slope, as HiFi-GAN itself does


class LeakyBlock(nn.Module):
    """For each dilation: x + conv2(leaky(conv1(leaky(x)))), conv1 dilated."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], *, ops, dtype, device):
        super().__init__()
        self.convs1 = nn.ModuleList(same_padding_conv(channels, kernel, d, ops, dtype, device) for d in dilations)
        self.convs2 = nn.ModuleList(same_padding_conv(channels, kernel, 1, ops, dtype, device) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            x = x + conv2(F.leaky_relu(conv1(F.leaky_relu(x, LEAK)), LEAK))
        return x


class HiFiGANVocoder(Generator):
    """Same call as `model.Vocoder`: mel (B, 2, T, mel_bins) -> waveform (B, 2, 240 * T) float32."""

    residual_block = LeakyBlock

    def __init__(self, params: VocoderParams, *, ops=torch.nn, dtype=None, device=None):
        super().__init__(params.generator, ops=ops, dtype=dtype, device=device)
        self.output_sampling_rate = params.output_sampling_rate

    def before_upsample(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, LEAK)

    def before_output(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, _OUTPUT_LEAK)
