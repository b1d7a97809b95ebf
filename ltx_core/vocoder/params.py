"""Sizes of the vocoder, read from a checkpoint's `config`."""

import math
from dataclasses import dataclass, replace
from typing import Any

from ..audio_vae.params import AudioVAEParams
from ..config_section import Section

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
        section = Section.required(config, "vocoder", "the sizes of the vocoder")
        mel = AudioVAEParams.from_config(config) if "audio_vae" in config else None
        mel_bins = mel.mel_bins if mel else 64
        frames_per_second = mel.sampling_rate // mel.hop_length if mel else 100
        if "bwe" in section.values:
            return cls._extended(section, mel_bins, frames_per_second)
        generator = _generator(section, mel_bins, {"resblock": "1", "stereo": True})
        rate = generator.upsampling * frames_per_second
        rate = section.without_nulls().whole("output_sampling_rate", rate)
        _check_rate(section, generator, frames_per_second, rate)
        return cls(generator, None, rate)

    @classmethod
    def _extended(cls, section: Section, mel_bins: int, frames_per_second: int) -> "VocoderParams":
        network = {"resblock": "AMP1", "stereo": True, "activation": "snakebeta"}
        bwe = section.section("bwe")
        extension = BandwidthExtensionParams(
            generator=replace(_generator(bwe, bwe.whole("num_mels"), network), final_activation=None),
            input_sampling_rate=bwe.whole("input_sampling_rate"),
            output_sampling_rate=bwe.whole("output_sampling_rate"),
            hop_length=bwe.whole("hop_length"),
            n_fft=bwe.whole("n_fft"),
            mel_bins=bwe.whole("num_mels"),
        )
        if extension.output_sampling_rate % extension.input_sampling_rate:
            raise bwe.refusal("output_sampling_rate", f"a multiple of {extension.input_sampling_rate} Hz")
        if extension.generator.upsampling != extension.hop_length * extension.ratio:
            raise bwe.refusal(
                "upsample_rates",
                f"rates that multiply to hop_length * {extension.ratio} = {extension.hop_length * extension.ratio}; "
                f"these multiply to {extension.generator.upsampling}",
            )
        first = section.section("vocoder")
        generator = _generator(first, mel_bins, network)
        _check_rate(first, generator, frames_per_second, extension.input_sampling_rate)
        return cls(generator, extension, extension.output_sampling_rate)


def _generator(section: Section, mel_bins: int, network: dict[str, Any]) -> GeneratorParams:
    """`network`: entries that name the kind of network; a missing one means the same.  Defaults are LTX-2.0's."""
    section.fixed(network, "Use the vocoder of LTX-2.5, LTX-2.3 or LTX-2.0.")
    final_activation = "tanh" if section.boolean("use_tanh_at_final", True) else "clamp"
    params = GeneratorParams(
        mel_bins=mel_bins,
        initial_channels=section.whole("upsample_initial_channel", 1024),
        upsample_rates=section.wholes("upsample_rates", (6, 5, 2, 2, 2)),
        upsample_kernels=section.wholes("upsample_kernel_sizes", (16, 15, 8, 4, 4)),
        resblock_kernels=section.wholes("resblock_kernel_sizes", (3, 7, 11)),
        resblock_dilations=section.lists_of_wholes("resblock_dilation_sizes", ((1, 3, 5),) * 3),
        final_bias=section.boolean("use_bias_at_final", True),
        final_activation=final_activation if section.boolean("apply_final_activation", True) else None,
    )
    for key, other, numbers, others in (
        ("upsample_rates", "upsample_kernel_sizes", params.upsample_rates, params.upsample_kernels),
        ("resblock_kernel_sizes", "resblock_dilation_sizes", params.resblock_kernels, params.resblock_dilations),
    ):
        if len(numbers) != len(others):
            raise section.refusal(key, f"as many as {other}: {len(others)}, not {len(numbers)}")
    for rate, kernel in zip(params.upsample_rates, params.upsample_kernels, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            expected = f"for the upsampling by {rate} a size of {rate} plus an even number, not {kernel}"
            raise section.refusal("upsample_kernel_sizes", expected)
    if any(kernel % 2 == 0 for kernel in params.resblock_kernels):
        raise section.refusal("resblock_kernel_sizes", "odd numbers")
    stages = len(params.upsample_rates)
    if params.initial_channels % 2**stages:
        raise section.refusal("upsample_initial_channel", f"a number that can be halved {stages} times")
    return params


def _check_rate(section: Section, generator: GeneratorParams, frames_per_second: int, rate: int) -> None:
    if generator.upsampling * frames_per_second != rate:
        raise section.refusal(
            "upsample_rates",
            f"rates that turn {frames_per_second} mel frames a second into {rate} Hz; these multiply to "
            f"{generator.upsampling}, which makes {generator.upsampling * frames_per_second} Hz",
        )
