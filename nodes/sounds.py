"""A sound as the nodes pass it on: out of ComfyUI's AUDIO, into a chain of conditions, and what is said of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from ..ltx_core.errors import ConditioningError
from ..ltx_core.sampling.conditions import GivenSound
from ..ltx_core.sampling.geometry import TEMPORAL_FACTOR
from .given import NOTHING, Given

ONE_SOUND = "A film has one sound: take one of the LTX Sound Conditions out of the chain, or mix them with AudioMerge."
_SILENT = 1e-4  # of full scale: less than one step of 12 bits


def add_sound(conditions: Given | None, audio: object, start: float, vae: object | None = None) -> Given:
    """A new chain with a sound, an AUDIO of ComfyUI, and the VAE that came with it; ConditioningError where the chain
    has a sound already."""
    given = conditions or NOTHING
    if given.sound is not None:
        raise ConditioningError(f"The chain of conditions has a sound already. {ONE_SOUND}")
    return replace(given, sound=sound_of(audio, start), sound_vae=vae or given.sound_vae)


def sound_of(audio: object, start: float) -> GivenSound:
    """The one sound of an AUDIO {"waveform": (1, C, N), "sample_rate": Hz}; ConditioningError for anything else."""
    if audio is None:
        raise ConditioningError(
            "The audio input holds no sound: the film that it comes from has none. Connect a sound, or take this node "
            "out, and the sound is made together with the picture."
        )
    waveform = audio.get("waveform") if isinstance(audio, Mapping) else None
    rate = audio.get("sample_rate") if isinstance(audio, Mapping) else None
    if not isinstance(waveform, Tensor) or rate is None:
        raise ConditioningError(
            f"The audio input holds a {type(audio).__name__} without a waveform and its sample_rate; expected AUDIO, "
            "such as LoadAudio gives."
        )
    if waveform.ndim != 3:
        raise ConditioningError(
            f"The sound has shape {tuple(waveform.shape)}; expected (1, channels, samples), as LoadAudio gives it."
        )
    if waveform.shape[0] != 1:
        raise ConditioningError(
            f"The audio input holds {waveform.shape[0]} sounds; a film has one. Make the sounds one by one, or join "
            "them one after the other with AudioConcat."
        )
    rate = rate.item() if hasattr(rate, "item") else rate  # numpy's numbers, and tensors
    whole = int(rate) if isinstance(rate, float) and rate.is_integer() else rate
    return GivenSound(waveform[0].detach().cpu(), whole, start)


def remarks(sound: GivenSound, frames: int, fps: float) -> Iterator[str]:
    """What a film of `frames` at `fps` makes of the sound that its user may not expect."""
    film = frames / fps
    if sound.part(frames, fps).waveform.abs().max() < _SILENT:
        yield "What the film has of the sound is silent: nothing in it says what is to be seen."
    if sound.frames(fps) < frames:
        yield (
            f"The sound ends after {sound.seconds:.2f} s, the film after {film:.2f} s: silence follows. "
            f"{sound.frames(fps)} frames end with the sound."
        )
    elif sound.seconds > film + TEMPORAL_FACTOR / fps:
        yield (
            f"The film ends after {film:.2f} s, {sound.seconds - film:.2f} s before the sound does: the rest is not "
            f"heard. {sound.frames(fps)} frames hold all of it."
        )
