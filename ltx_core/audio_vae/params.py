"""Sizes of the audio autoencoder, read from a checkpoint's `config`."""

from dataclasses import dataclass
from typing import Any

from ..config_section import Section

# Mel frames (and mel bins) per latent step: two halvings.  The transformer's audio clock counts on it.
DOWNSAMPLE_FACTOR = 4

# ddconfig entries that only change the network when they differ from these; a missing entry means the same.
_FIXED = {
    "double_z": True,
    "norm_type": "pixel",
    "causality_axis": "height",
    "mid_block_add_attention": False,
    "attn_resolutions": [],
    "resamp_with_conv": True,
}


@dataclass(frozen=True)
class AudioVAEParams:
    """Sizes of the audio encoder and decoder and of the mel front end.

    `base_channels * channel_multipliers[i]` channels at level `i`; rates in Hz, `hop_length` and `n_fft` in samples.
    """

    in_channels: int
    out_channels: int
    base_channels: int
    channel_multipliers: tuple[int, ...]
    num_res_blocks: int
    latent_channels: int
    mel_bins: int
    sampling_rate: int
    hop_length: int
    n_fft: int

    @property
    def latent_mel_bins(self) -> int:
        """Width of the latent's last axis."""
        return self.mel_bins // DOWNSAMPLE_FACTOR

    @property
    def token_width(self) -> int:
        """Values per latent time step, which is also the number of latent statistics."""
        return self.latent_channels * self.latent_mel_bins

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AudioVAEParams":
        """Reads the `audio_vae` section of a checkpoint's whole `config`.

        Raises CheckpointError when the section is missing or asks for something this network does not have.
        """
        section = Section.required(config, "audio_vae", "the sizes of the audio VAE")
        model = section.section("model").section("params")
        ddconfig = model.section("ddconfig")
        preprocessing = section.section("preprocessing")
        stft, mel = preprocessing.section("stft"), preprocessing.section("mel")
        ddconfig.fixed(_FIXED, "Use the audio VAE of LTX-2.5, LTX-2.3 or LTX-2.0.")
        bins, key = (mel, "n_mel_channels") if ddconfig.values.get("mel_bins") is None else (ddconfig, "mel_bins")
        rate = model.whole("sampling_rate", 16000)
        params = cls(
            in_channels=ddconfig.whole("in_channels", 2),
            out_channels=ddconfig.whole("out_ch", 2),
            base_channels=ddconfig.whole("ch", 128),
            channel_multipliers=ddconfig.wholes("ch_mult", (1, 2, 4)),
            num_res_blocks=ddconfig.layers("num_res_blocks", 2, at_least=0),
            latent_channels=ddconfig.whole("z_channels", 8),
            mel_bins=bins.without_nulls().whole(key, 64, multiple_of=DOWNSAMPLE_FACTOR),
            sampling_rate=rate,
            hop_length=stft.whole("hop_length", 160, at_most=rate),
            n_fft=stft.whole("filter_length", 1024),
        )
        if 2 ** (len(params.channel_multipliers) - 1) != DOWNSAMPLE_FACTOR:
            raise ddconfig.refusal(
                "ch_mult", f"three levels, as the transformer counts on {DOWNSAMPLE_FACTOR} mel frames per latent frame"
            )
        if params.base_channels != params.token_width:
            # The vendor stores `ch` statistics and applies them to z_channels * mel_bins / 4 values.
            raise ddconfig.refusal(
                "ch",
                f"z_channels * mel_bins / {DOWNSAMPLE_FACTOR} = {params.latent_channels} * {params.mel_bins} / "
                f"{DOWNSAMPLE_FACTOR} = {params.token_width}, the number of values that the statistics normalise",
            )
        return params
