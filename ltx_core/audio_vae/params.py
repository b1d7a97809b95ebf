"""Sizes of the audio autoencoder, read from a checkpoint's `config`."""

from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError

# Mel frames (and mel bins) per latent step: two halvings.  The transformer's audio clock counts on it.
DOWNSAMPLE_FACTOR = 4

# ddconfig entries that only change the network when they differ from these; a missing entry means the same.
_SUPPORTED = {
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
        section = config.get("audio_vae")
        if not isinstance(section, dict):
            raise CheckpointError(
                "The checkpoint's config has no 'audio_vae' section, so its audio VAE cannot be built. "
                "Load a file that contains the audio VAE together with its metadata."
            )
        model = section.get("model", {}).get("params", {})
        ddconfig = model.get("ddconfig", {})
        stft = section.get("preprocessing", {}).get("stft", {})
        mel = section.get("preprocessing", {}).get("mel", {})
        for key, expected in _SUPPORTED.items():
            found = ddconfig.get(key, expected)
            if found != expected:
                raise CheckpointError(
                    f"audio_vae config: {key} is {found!r}, but only {expected!r} is supported. "
                    "The file holds another kind of audio VAE than LTX-2's."
                )
        params = cls(
            in_channels=ddconfig.get("in_channels", 2),
            out_channels=ddconfig.get("out_ch", 2),
            base_channels=ddconfig.get("ch", 128),
            channel_multipliers=tuple(ddconfig.get("ch_mult", (1, 2, 4))),
            num_res_blocks=ddconfig.get("num_res_blocks", 2),
            latent_channels=ddconfig.get("z_channels", 8),
            mel_bins=ddconfig.get("mel_bins") or mel.get("n_mel_channels") or 64,
            sampling_rate=model.get("sampling_rate", 16000),
            hop_length=stft.get("hop_length", 160),
            n_fft=stft.get("filter_length", 1024),
        )
        params._check()
        return params

    def _check(self) -> None:
        if 2 ** (len(self.channel_multipliers) - 1) != DOWNSAMPLE_FACTOR:
            raise CheckpointError(
                f"audio_vae config: ch_mult is {list(self.channel_multipliers)}, but three levels are needed: "
                f"the transformer counts on {DOWNSAMPLE_FACTOR} mel frames per latent frame."
            )
        if self.mel_bins % DOWNSAMPLE_FACTOR:
            raise CheckpointError(
                f"audio_vae config: mel_bins is {self.mel_bins}, but must be a multiple of {DOWNSAMPLE_FACTOR}."
            )
        if self.base_channels != self.token_width:
            # The vendor stores `ch` statistics and applies them to z_channels * mel_bins / 4 values.
            raise CheckpointError(
                f"audio_vae config: ch is {self.base_channels}, which is also the number of stored latent statistics, "
                f"but z_channels * mel_bins / {DOWNSAMPLE_FACTOR} = {self.latent_channels} * {self.mel_bins} / "
                f"{DOWNSAMPLE_FACTOR} = {self.token_width} values are to be normalised. Both must be equal."
            )
