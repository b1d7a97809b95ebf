"""The vocoder: log-mel spectrogram -> stereo waveform, 48 kHz in LTX-2.3, 24 kHz in LTX-2.0."""

from .hifigan import HiFiGANVocoder
from .model import Vocoder, build_vocoder
from .params import VocoderParams

__all__ = ["HiFiGANVocoder", "Vocoder", "VocoderParams", "build_vocoder"]
