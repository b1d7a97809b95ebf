"""The vocoder: log-mel spectrogram -> stereo sound."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..progress import SILENT, Reporter
from .bandwidth_extension import MelSTFT, sinc_upsample
from .generator import AMPGenerator
from .hifigan import HiFiGANVocoder
from .params import VocoderParams


class Vocoder(nn.Module):
    """LTX-2.3's vocoder: one network makes a 16 kHz waveform, a second adds what is missing at 48 kHz.

    Always computes in float32: errors of bfloat16 grow through more than a hundred convolutions in a row.  Tensor names
    are the checkpoint's with exactly one leading `vocoder.` removed.
    """

    def __init__(
        self,
        params: VocoderParams,
        *,
        ops=torch.nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.extension = params.bandwidth_extension
        self.output_sampling_rate = params.output_sampling_rate
        self.vocoder = AMPGenerator(params.generator, ops=ops, dtype=dtype, device=device)
        self.bwe_generator = AMPGenerator(self.extension.generator, ops=ops, dtype=dtype, device=device)
        self.mel_stft = MelSTFT(self.extension, dtype=dtype, device=device)

    def forward(self, mel: Tensor, reporter: Reporter = SILENT) -> Tensor:
        """(B, 2, T, mel_bins) -> (B, 2, 480 * T) float32 in [-1, 1], at `output_sampling_rate` Hz.

        Raises GeometryError when channels or mel bins do not fit, and what `reporter.check_cancel` raises.
        """
        narrow = self.vocoder(mel, reporter)
        samples = narrow.shape[-1]
        narrow = F.pad(narrow, (0, -samples % self.extension.hop_length))
        residual = self.bwe_generator(self.mel_stft(narrow), reporter)
        wide = (residual + sinc_upsample(narrow, self.extension.ratio)).clamp(-1, 1)
        return wide[..., : samples * self.extension.ratio]


def build_vocoder(
    params: VocoderParams,
    *,
    ops=torch.nn,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Vocoder | HiFiGANVocoder:
    """The vocoder that `params` describe: LTX-2.3's or LTX-2.0's, called alike.

    `dtype` is what the weights are stored in where `ops` can cast them to the input's dtype; torch.nn cannot, its
    layers are always float32.
    """
    kind = HiFiGANVocoder if params.bandwidth_extension is None else Vocoder
    return kind(params, ops=ops, dtype=dtype, device=device)
