"""A voice that the film's speaker is to have: a short sound of it, as tokens in front of the film's own sound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...audio_vae.encoder import AudioEncoder
from ...errors import ConditioningError
from ...progress import SILENT, Reporter
from ..geometry import AUDIO_BINS, AUDIO_CHANNELS, AUDIO_LATENTS_PER_SECOND, LatentGeometry, audio_bounds
from ..patchify import patchify_audio
from ..state import ModalityState, appended
from .sound import GivenSound, encode_waveform, mixed_down

IDENTITY_SCALE = 3.0  # ID-LoRA's, and ComfyUI's
LEAST_SECONDS = 0.5  # a dozen latents: less holds no voice
MOST_SECONDS = 20.0  # positions that the model knows reach as far, on their own side of 0

_GAP = 1 / AUDIO_LATENTS_PER_SECOND


@dataclass(frozen=True, eq=False)
class GivenVoice:
    """A sound in which a voice is heard, and how far the film's is led to it; the words are the prompt's.

    sound: of it 20 s are used, from its start on.  scale: of identity guidance, 0 for none, which saves a pass.  Needs
    a LoRA that learned it (ID-LoRA), with about 5 s.  ConditioningError for less than half a second.
    """

    sound: GivenSound
    scale: float = IDENTITY_SCALE

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ConditioningError(f"The identity scale is {self.scale}, expected a number from 0.")
        if self.sound.start < 0:
            raise ConditioningError(f"The voice would begin {-self.sound.start:g} s before its sound: start at 0.")
        if self.sound.seconds < LEAST_SECONDS:
            raise ConditioningError(
                f"The reference voice lasts {self.sound.seconds:.2f} s, expected at least {LEAST_SECONDS:g} s, and "
                "better about 5 s of one clear voice."
            )

    @property
    def used(self) -> GivenSound:
        """What of the sound is read, as mono or stereo."""
        rate = self.sound.sample_rate
        first = round(self.sound.start * rate)
        part = self.sound.waveform[:, first : first + round(MOST_SECONDS * rate)]
        return GivenSound(mixed_down(part.float()), rate)


@dataclass(frozen=True)
class Voice:
    """The vendor's reference sound of dubbing, and ComfyUI's LTXVReferenceAudio: clean tokens before second 0.

    latent: (1, 8, T, 16) normalised.  They end 0.04 s, one latent, before the film's own sound begins.
    """

    latent: Tensor

    def __post_init__(self):
        shape = tuple(self.latent.shape)
        if len(shape) != 4 or shape[:2] != (1, AUDIO_CHANNELS) or shape[3] != AUDIO_BINS or not shape[2]:
            raise ConditioningError(
                f"The voice's latent has shape {shape}, expected (1, {AUDIO_CHANNELS}, latents, {AUDIO_BINS})."
            )

    @property
    def appended_tokens(self) -> int:
        return self.latent.shape[2]

    def apply(self, state: ModalityState, geometry: LatentGeometry) -> ModalityState:
        bounds = audio_bounds(self.appended_tokens, state.positions.device)
        positions = bounds - (bounds[0, 0, -1, 1] + _GAP)
        return appended(state, patchify_audio(self.latent), positions, strength=1.0)


@torch.no_grad()
def encode_voice(
    encoder: AudioEncoder,
    voice: GivenVoice,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Voice:
    """The voice as a condition of the sound; both stages take it."""
    sound = voice.used
    return Voice(encode_waveform(encoder, sound, dtype=dtype, device=device, reporter=reporter))
