"""A sound as it is given, and as the latent that a stage keeps."""

import math
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from ...audio_vae.encoder import AudioEncoder
from ...audio_vae.mel import waveform_to_mel
from ...errors import ConditioningError
from ...progress import SILENT, Reporter
from ..geometry import TEMPORAL_FACTOR, LatentGeometry

LOWEST_RATE, HIGHEST_RATE = 1000, 384_000  # samples a second

# ITU-R BS.775, for channels in FFmpeg's order: front left and right, centre, low frequencies, back, side.
_HALF = math.sqrt(0.5)
_SURROUND = {
    6: ((1, 0, _HALF, 0, _HALF, 0), (0, 1, _HALF, 0, 0, _HALF)),
    8: ((1, 0, _HALF, 0, _HALF, 0, _HALF, 0), (0, 1, _HALF, 0, 0, _HALF, 0, _HALF)),
}


@dataclass(frozen=True, eq=False)
class GivenSound:
    """A sound that the video is made to: (C, N) float32 in -1..1 on the CPU, with its sampling rate in Hz.

    start: the second of it at which the film begins; before 0 the film begins first, in silence.  ConditioningError for
    what is no sound, and for a start behind its end.
    """

    waveform: Tensor
    sample_rate: int
    start: float = 0.0

    def __post_init__(self):
        shape = tuple(self.waveform.shape)
        if len(shape) != 2:
            raise ConditioningError(
                f"The sound has shape {shape}, expected (channels, samples): give one sound, without a batch."
            )
        if 0 in shape:
            raise ConditioningError(f"The sound is empty, of shape {shape} (channels, samples): give one that lasts.")
        if not self.waveform.is_floating_point():
            raise ConditioningError(
                f"The sound holds {self.waveform.dtype}, expected floats in -1..1: divide 16-bit samples by 32768."
            )
        if not isinstance(self.sample_rate, Integral) or not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise ConditioningError(
                f"The sound's sampling rate is {self.sample_rate}, expected a whole number of Hz from {LOWEST_RATE} to "
                f"{HIGHEST_RATE}, such as 48000."
            )
        if not torch.isfinite(self.waveform.sum(dtype=torch.float64)):
            raise ConditioningError("The sound holds values that are not numbers (NaN or infinite): give another one.")
        whole = shape[1] / self.sample_rate
        if not math.isfinite(self.start) or self.start >= whole:
            raise ConditioningError(
                f"The film would begin at second {self.start:g} of a sound that lasts {whole:.2f} s: choose a start "
                "before its end."
            )

    @property
    def seconds(self) -> float:
        """How long it is heard, from the film's beginning on: the silence before it counts."""
        return self.waveform.shape[1] / self.sample_rate - self.start

    def frames(self, fps: float) -> int:
        """The fewest frames, 8n+1, of a film at `fps` in which the sound is heard to its end."""
        # A hair less, so that rounding of whole lengths adds no frames.
        exact = self.seconds * fps - 1e-6
        return max(0, math.ceil((exact - 1) / TEMPORAL_FACTOR)) * TEMPORAL_FACTOR + 1

    def check(self, frames: int, fps: float) -> None:
        """ConditioningError unless any of it is heard in a film of `frames` at `fps`."""
        if -self.start >= frames / fps:
            raise ConditioningError(
                f"The sound begins {-self.start:g} s after the film, which lasts {frames / fps:.2f} s: choose a start "
                "nearer to 0, or more frames."
            )

    def part(self, frames: int, fps: float) -> "GivenSound":
        """What a film of `frames` at `fps` has of it, as mono or stereo: cut, or filled up with silence."""
        begin, length = round(self.start * self.sample_rate), round(frames / fps * self.sample_rate)
        heard = mixed_down(self.waveform.float())[:, max(begin, 0) : max(begin + length, 0)]
        before = min(max(-begin, 0), length)
        heard = F.pad(heard, (before, length - before - heard.shape[1]))
        return GivenSound(heard, self.sample_rate)


def silence(sample_rate: int) -> GivenSound:
    """A sound in which nothing is heard, however long the film."""
    return GivenSound(torch.zeros(1, 1), sample_rate)


def mixed_down(waveform: Tensor) -> Tensor:
    """(C, N) as mono or stereo: 5.1 and 7.1 by their usual weights, quieter where that would leave -1..1; other numbers
    of channels by their mean."""
    channels = waveform.shape[0]
    if channels <= 2:
        return waveform
    if channels in _SURROUND:
        mixed = torch.tensor(_SURROUND[channels], dtype=waveform.dtype) @ waveform
        return mixed / mixed.abs().max().clamp_min(1)
    return waveform.mean(dim=0, keepdim=True)


@torch.no_grad()
def encode_sound(
    encoder: AudioEncoder,
    sound: GivenSound,
    geometry: LatentGeometry,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Tensor:
    """The normalised latent (1, 8, T, 16), in `dtype`, of the part of the sound that belongs to the film.

    Both stages keep it as it is.  Where the sound ends before the film, silence is encoded; the vendor's pipeline stops
    there.
    """
    part = sound.part(geometry.frames, geometry.fps)
    latent = encode_waveform(encoder, part, dtype=dtype, device=device, reporter=reporter)
    return latent[:, :, : geometry.audio_frames]


@torch.no_grad()
def encode_waveform(
    encoder: AudioEncoder,
    sound: GivenSound,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Tensor:
    """The normalised latent (1, 8, T, 16), in `dtype`, of the whole of a sound that is mono or stereo."""
    params, waveform = encoder.params, sound.waveform[None]
    # Films of a few hundredths of a second are shorter than one window of the spectrogram.
    least = math.ceil(params.n_fft * sound.sample_rate / params.sampling_rate)
    waveform = F.pad(waveform, (0, max(0, least - waveform.shape[-1])))
    reporter.check_cancel()
    mel = waveform_to_mel(waveform.to(device), sound.sample_rate, params)
    reporter.check_cancel()
    return encoder(mel.to(dtype), reporter)
