"""The audio autoencoder: log-mel spectrogram <-> latent, 25 latent frames a second."""

from .decoder import AudioDecoder
from .encoder import AudioEncoder
from .mel import log_mel, resample, waveform_to_mel
from .params import AudioVAEParams

__all__ = ["AudioDecoder", "AudioEncoder", "AudioVAEParams", "log_mel", "resample", "waveform_to_mel"]
