"""Audio decoder: normalised latent -> log-mel spectrogram."""

import torch
from torch import Tensor, nn

from ..errors import GeometryError
from ..progress import SILENT, Reporter
from .layers import CausalConv2d, MidBlock, UpLevel, norm_silu
from .params import AudioVAEParams
from .statistics import PerChannelStatistics


class AudioDecoder(nn.Module):
    """Decodes the transformer's audio latent to the log-mel spectrogram that the vocoder turns into sound.

    Tensor names are the checkpoint's without `audio_vae.decoder.`; the statistics are `audio_vae.`'s own.
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
        widths = [params.base_channels * multiplier for multiplier in params.channel_multipliers]
        widths.append(widths[-1])
        self.per_channel_statistics = PerChannelStatistics(params, dtype=dtype, device=device)
        self.conv_in = CausalConv2d(params.latent_channels, widths[-1], **options)
        self.mid = MidBlock(widths[-1], **options)
        # Stored finest level first, run coarsest first; one block more per level than the encoder.
        self.up = nn.ModuleList(
            UpLevel(widths[level + 1], widths[level], params.num_res_blocks + 1, level > 0, **options)
            for level in range(len(widths) - 1)
        )
        self.conv_out = CausalConv2d(widths[0], params.out_channels, **options)

    def forward(self, latent: Tensor, reporter: Reporter = SILENT) -> Tensor:
        """Normalised latent (B, latent_channels, T, mel_bins/4) in the layers' dtype -> mel (B, 2, 4T - 3, mel_bins).

        Raises GeometryError when the latent does not fit the model.
        """
        expected = (self.params.latent_channels, self.params.latent_mel_bins)
        if latent.ndim != 4 or (latent.shape[1], latent.shape[3]) != expected or latent.shape[2] < 1:
            raise GeometryError(
                f"The audio decoder got a latent of shape {tuple(latent.shape)}; it needs "
                f"(batch, {expected[0]}, frames, {expected[1]}). Use the audio latent of the same model."
            )
        x = self.mid(self.conv_in(self.per_channel_statistics.unnormalize(latent)))
        for level in reversed(self.up):
            reporter.check_cancel()
            x = level(x)
        return self.conv_out(norm_silu(x))
