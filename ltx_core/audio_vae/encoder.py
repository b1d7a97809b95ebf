"""Audio encoder: log-mel spectrogram -> normalised latent."""

import torch
from torch import Tensor, nn

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from .layers import CausalConv2d, DownLevel, MidBlock, norm_silu
from .params import AudioVAEParams
from .statistics import PerChannelStatistics


class AudioEncoder(nn.Module):
    """Encodes a log-mel spectrogram (see `mel.log_mel`) to the normalised latent that the transformer works on.

    Tensor names are the checkpoint's without `audio_vae.encoder.`; the statistics are `audio_vae.`'s own.
    """

    def __init__(
        self,
        params: AudioVAEParams,
        *,
        ops=torch.nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        options = {"ops": ops, "dtype": dtype, "device": device}
        widths = [params.base_channels * multiplier for multiplier in (1, *params.channel_multipliers)]
        last = len(widths) - 2
        self.per_channel_statistics = PerChannelStatistics(params, dtype=dtype, device=device)
        self.conv_in = CausalConv2d(params.in_channels, widths[0], **options)
        self.down = nn.ModuleList(
            DownLevel(widths[level], widths[level + 1], params.num_res_blocks, level < last, **options)
            for level in range(last + 1)
        )
        self.mid = MidBlock(widths[-1], **options)
        # Means, then log-variances, which are not used: the latent is the mean.
        self.conv_out = CausalConv2d(widths[-1], 2 * params.latent_channels, **options)

    def forward(self, mel: Tensor, reporter: Reporter = SILENT) -> Tensor:
        """(B, 2, T, mel_bins) in the layers' dtype -> normalised latent (B, latent_channels, ceil(T/4), mel_bins/4).

        Raises GeometryError when channels or mel bins do not fit the model.
        """
        expected = (self.params.in_channels, self.params.mel_bins)
        if mel.ndim != 4 or (mel.shape[1], mel.shape[3]) != expected or mel.shape[2] < 1:
            raise GeometryError(
                f"The audio encoder got a spectrogram of shape {tuple(mel.shape)}; it needs "
                f"(batch, {expected[0]}, frames, {expected[1]}). Make it with log_mel."
            )
        x = self.conv_in(mel)
        for level in self.down:
            reporter.check_cancel()
            x = level(x)
        x = self.conv_out(norm_silu(self.mid(x)))
        return self.per_channel_statistics.normalize(x.chunk(2, dim=1)[0])
