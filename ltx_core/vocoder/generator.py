"""Mel spectrogram -> waveform: the skeleton of both generations' networks, and LTX-2.3's (BigVGAN-v2 style)."""

import torch
from torch import Tensor, nn

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from .activation import AntiAliasedSnake
from .params import STEREO, GeneratorParams


def same_padding_conv(channels: int, kernel: int, dilation: int, ops, dtype, device) -> nn.Module:
    return ops.Conv1d(
        channels, channels, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation, dtype=dtype, device=device
    )


class Generator(nn.Module):
    """Convolution, then per stage: upsample and take the mean of residual blocks of several kernel sizes; convolution.

    A subclass says what the residual block is (`residual_block(channels, kernel, dilations)`) and what happens before
    each upsampling (`before_upsample`) and before the last convolution (`before_output`).

    Computes in float32.  torch.nn's layers cannot cast, so with them the weights are float32 whatever `dtype` says;
    other `ops` must cast what they store as `dtype` to the input's dtype.
    """

    residual_block: type[nn.Module]

    def __init__(self, params: GeneratorParams, *, ops=torch.nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        if ops is torch.nn:
            dtype = torch.float32
        options = {"ops": ops, "dtype": dtype, "device": device}
        layer = {"dtype": dtype, "device": device}
        widths = [params.initial_channels // 2**stage for stage in range(len(params.upsample_rates) + 1)]
        self.conv_pre = ops.Conv1d(STEREO * params.mel_bins, widths[0], 7, padding=3, **layer)
        self.ups = nn.ModuleList(
            ops.ConvTranspose1d(widths[i], widths[i + 1], kernel, rate, padding=(kernel - rate) // 2, **layer)
            for i, (rate, kernel) in enumerate(zip(params.upsample_rates, params.upsample_kernels, strict=True))
        )
        self.resblocks = nn.ModuleList(
            self.residual_block(width, kernel, dilations, **options)
            for width in widths[1:]
            for kernel, dilations in zip(params.resblock_kernels, params.resblock_dilations, strict=True)
        )
        self.conv_post = ops.Conv1d(widths[-1], STEREO, 7, padding=3, bias=params.final_bias, **layer)

    def before_upsample(self, x: Tensor) -> Tensor:
        return x

    def before_output(self, x: Tensor) -> Tensor:
        return x

    def forward(self, mel: Tensor, reporter: Reporter = SILENT) -> Tensor:
        """(B, 2, T, mel_bins) -> (B, 2, T * upsampling), computed in float32 whatever the input's dtype.

        Raises GeometryError when channels or mel bins do not fit.
        """
        if mel.ndim != 4 or (mel.shape[1], mel.shape[3]) != (STEREO, self.params.mel_bins):
            raise GeometryError(
                f"The vocoder got a spectrogram of shape {tuple(mel.shape)}; it needs "
                f"(batch, {STEREO}, frames, {self.params.mel_bins})."
            )
        # Channel of the first layer: side * mel_bins + bin.
        x = self.conv_pre(mel.float().transpose(2, 3).flatten(1, 2))
        count = len(self.params.resblock_kernels)
        for stage, upsample in enumerate(self.ups):
            reporter.check_cancel()
            x = upsample(self.before_upsample(x))
            x = sum(block(x) for block in self.resblocks[stage * count : (stage + 1) * count]) / count
        x = self.conv_post(self.before_output(x))
        if self.params.final_activation == "tanh":
            return torch.tanh(x)
        return x.clamp(-1, 1) if self.params.final_activation == "clamp" else x


class AMPBlock(nn.Module):
    """Anti-aliased multi-periodicity block: for each dilation, x + conv2(act2(conv1(act1(x)))), conv1 dilated."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], *, ops, dtype, device):
        super().__init__()
        layer = {"dtype": dtype, "device": device}
        self.convs1 = nn.ModuleList(same_padding_conv(channels, kernel, d, ops, dtype, device) for d in dilations)
        self.convs2 = nn.ModuleList(same_padding_conv(channels, kernel, 1, ops, dtype, device) for _ in dilations)
        self.acts1 = nn.ModuleList(AntiAliasedSnake(channels, **layer) for _ in dilations)
        self.acts2 = nn.ModuleList(AntiAliasedSnake(channels, **layer) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for act1, conv1, act2, conv2 in zip(self.acts1, self.convs1, self.acts2, self.convs2, strict=True):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class AMPGenerator(Generator):
    """LTX-2.3's network, used twice: mel -> 16 kHz, and mel of that -> what is missing at 48 kHz."""

    residual_block = AMPBlock

    def __init__(self, params: GeneratorParams, *, ops=torch.nn, dtype=None, device=None):
        super().__init__(params, ops=ops, dtype=dtype, device=device)
        channels = params.initial_channels // 2 ** len(params.upsample_rates)
        self.act_post = AntiAliasedSnake(channels, dtype=dtype, device=device)

    def before_output(self, x: Tensor) -> Tensor:
        return self.act_post(x)
