"""Sizes of the vocoder, read from a checkpoint's `config`."""

import math
from dataclasses import dataclass
from typing import Any

from ..audio_vae.params import AudioVAEParams
from ..errors import CheckpointError

STEREO = 2


@dataclass(frozen=True)
class GeneratorParams:
    """Sizes of one mel-to-waveform network; the waveform has `upsampling` samples per mel frame.

    Channels start at `initial_channels` and halve at every upsampling.  `final_activation` is "tanh", "clamp" or None.
    """

    mel_bins: int
    initial_channels: int
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    resblock_kernels: tuple[int, ...]
    resblock_dilations: tuple[tuple[int, ...], ...]
    final_bias: bool
    final_activation: str | None

    @property
    def upsampling(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.upsample_rates)


@dataclass(frozen=True)
class BandwidthExtensionParams:
    """The second network, from the first one's waveform to a higher rate.  Rates in Hz, the rest in samples."""

    generator: GeneratorParams
    input_sampling_rate: int
    output_sampling_rate: int
    hop_length: int
    n_fft: int
    mel_bins: int

    @property
    def ratio(self) -> int:
        """Output samples per input sample."""
        return self.output_sampling_rate // self.input_sampling_rate


@dataclass(frozen=True)
class VocoderParams:
    """The whole vocoder.  `bandwidth_extension` is None in LTX-2.0, whose network is also of an older kind."""

    generator: GeneratorParams
    bandwidth_extension: BandwidthExtensionParams | None
    output_sampling_rate: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VocoderParams":
        """Reads the `vocoder` section of a checkpoint's whole `config`: nested in LTX-2.3, flat in LTX-2.0.

        Raises CheckpointError when the section is missing, does not fit together, or asks for another network.
        """
        section = config.get("vocoder")
        if not isinstance(section, dict):
            raise CheckpointError(
                "The checkpoint's config has no 'vocoder' section, so its vocoder cannot be built. "
                "Load a file that contains the vocoder together with its metadata."
            )
        mel = AudioVAEParams.from_config(config) if "audio_vae" in config else None
        mel_bins = mel.mel_bins if mel else 64
        frames_per_second = mel.sampling_rate // mel.hop_length if mel else 100
        if "bwe" in section:
            return cls._extended(section, mel_bins, frames_per_second)
        generator = _generator(section, "vocoder", mel_bins, {"resblock": "1", "stereo": True})
        rate = section.get("output_sampling_rate") or generator.upsampling * frames_per_second
        _check_rate("vocoder", generator, frames_per_second, rate)
        return cls(generator, None, rate)

    @classmethod
    def _extended(cls, section: dict[str, Any], mel_bins: int, frames_per_second: int) -> "VocoderParams":
        network = {"resblock": "AMP1", "stereo": True, "activation": "snakebeta"}
        bwe = section["bwe"]
        for key in ("input_sampling_rate", "output_sampling_rate", "hop_length", "n_fft", "num_mels"):
            if not isinstance(bwe.get(key), int):
                raise CheckpointError(
                    f"vocoder.bwe config: {key} is {bwe.get(key)!r}, expected an integer. The metadata is damaged."
                )
        extension = BandwidthExtensionParams(
            generator=_generator({**bwe, "apply_final_activation": False}, "vocoder.bwe", bwe["num_mels"], network),
            input_sampling_rate=bwe["input_sampling_rate"],
            output_sampling_rate=bwe["output_sampling_rate"],
            hop_length=bwe["hop_length"],
            n_fft=bwe["n_fft"],
            mel_bins=bwe["num_mels"],
        )
        if extension.output_sampling_rate % extension.input_sampling_rate:
            raise CheckpointError(
                f"vocoder.bwe config: {extension.output_sampling_rate} Hz is not a multiple of "
                f"{extension.input_sampling_rate} Hz."
            )
        if extension.generator.upsampling != extension.hop_length * extension.ratio:
            raise CheckpointError(
                f"vocoder.bwe config: upsample_rates multiply to {extension.generator.upsampling}, expected hop_length "
                f"* {extension.ratio} = {extension.hop_length * extension.ratio}."
            )
        generator = _generator(section.get("vocoder", {}), "vocoder.vocoder", mel_bins, network)
        _check_rate("vocoder.vocoder", generator, frames_per_second, extension.input_sampling_rate)
        return cls(generator, extension, extension.output_sampling_rate)


def _generator(section: dict[str, Any], name: str, mel_bins: int, network: dict[str, Any]) -> GeneratorParams:
    """`network`: entries that name the kind of network; a missing one means the same.  Defaults are LTX-2.0's."""
    for key, expected in network.items():
        found = section.get(key, expected)
        if found != expected:
            raise CheckpointError(
                f"{name} config: {key} is {found!r}, expected {expected!r}. This kind of vocoder is not supported."
            )
    final_activation = "tanh" if section.get("use_tanh_at_final", True) else "clamp"
    params = GeneratorParams(
        mel_bins=mel_bins,
        initial_channels=section.get("upsample_initial_channel", 1024),
        upsample_rates=tuple(section.get("upsample_rates", (6, 5, 2, 2, 2))),
        upsample_kernels=tuple(section.get("upsample_kernel_sizes", (16, 15, 8, 4, 4))),
        resblock_kernels=tuple(section.get("resblock_kernel_sizes", (3, 7, 11))),
        resblock_dilations=tuple(tuple(d) for d in section.get("resblock_dilation_sizes", ((1, 3, 5),) * 3)),
        final_bias=section.get("use_bias_at_final", True),
        final_activation=final_activation if section.get("apply_final_activation", True) else None,
    )
    stages = len(params.upsample_rates)
    if stages != len(params.upsample_kernels) or len(params.resblock_kernels) != len(params.resblock_dilations):
        raise CheckpointError(
            f"{name} config: {stages} upsample_rates with {len(params.upsample_kernels)} kernel sizes, and "
            f"{len(params.resblock_kernels)} resblock_kernel_sizes with {len(params.resblock_dilations)} lists of "
            "dilations; each pair must have the same length."
        )
    for rate, kernel in zip(params.upsample_rates, params.upsample_kernels, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            raise CheckpointError(
                f"{name} config: an upsampling by {rate} has kernel size {kernel}, expected {rate} plus an even number."
            )
    if any(kernel % 2 == 0 for kernel in params.resblock_kernels):
        raise CheckpointError(f"{name} config: resblock_kernel_sizes {params.resblock_kernels} must be odd.")
    if params.initial_channels % 2**stages:
        raise CheckpointError(
            f"{name} config: upsample_initial_channel {params.initial_channels} cannot be halved {stages} times."
        )
    return params


def _check_rate(name: str, generator: GeneratorParams, frames_per_second: int, rate: int) -> None:
    if generator.upsampling * frames_per_second != rate:
        raise CheckpointError(
            f"{name} config: upsample_rates multiply to {generator.upsampling}, which at {frames_per_second} mel "
            f"frames a second gives {generator.upsampling * frames_per_second} Hz, but the sampling rate is {rate} Hz."
        )
