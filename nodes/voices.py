"""A reference voice as the nodes pass it on: out of ComfyUI's AUDIO, into a chain, and what is said of it."""

from collections.abc import Iterator
from dataclasses import replace

from ..ltx_core.errors import ConditioningError
from ..ltx_core.sampling.conditions import GivenVoice
from ..ltx_core.sampling.conditions.voice import MOST_SECONDS
from .given import NOTHING, Given
from .sounds import sound_of

ONE_VOICE = "A film takes one reference voice: take one of the LTX Reference Voices out of the chain."
_SHORT, _LONG = 2.0, 10.0  # seconds; ID-LoRAs learn with about 5
_SILENT = 1e-4  # of full scale


def add_voice(conditions: Given | None, audio: object, scale: float, vae: object | None = None) -> Given:
    """A new chain with a voice, an AUDIO of ComfyUI, and the VAE that came with it; ConditioningError where the chain
    has one already, and for less than half a second."""
    given = conditions or NOTHING
    if given.voice is not None:
        raise ConditioningError(f"The chain of conditions has a reference voice already. {ONE_VOICE}")
    return replace(given, voice=GivenVoice(sound_of(audio, 0.0), scale), sound_vae=given.sound_vae or vae)


def remarks(voice: GivenVoice) -> Iterator[str]:
    """What becomes of the voice that its user may not expect."""
    seconds = voice.sound.seconds
    if voice.used.waveform.abs().max() < _SILENT:
        yield "The reference voice is silent: nothing in it says how the film's is to sound."
    if seconds > MOST_SECONDS:
        yield (
            f"The reference voice lasts {seconds:.1f} s: its first {MOST_SECONDS:g} s are read. LoRAs for it learn "
            "with about 5 s; TrimAudioDuration cuts the best part out."
        )
    elif not _SHORT <= seconds <= _LONG:
        yield (
            f"The reference voice lasts {seconds:.1f} s, and LoRAs for it learn with about 5 s: much less or more "
            "tells less of the voice."
        )
