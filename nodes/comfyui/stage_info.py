"""What stage one knows beyond the tensors, and how it travels in a LATENT beside them.

Core's nodes copy the dict, or lay one over another: after LTXVConcatAVLatent the keys of the sound's latent stand where
the picture's stood.  So each record has a key of its own and says which picture or which sound it was made for.  Both
are there after a join, and picture and sound find their own.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError, GeometryError
from ...ltx_core.generation import Generation
from ...ltx_core.sampling.conditions import GivenFilm, GivenSound
from ...ltx_core.sampling.geometry import pixel_frames

KEY = "ltx_duo"  # the records' keys begin with it
_SAMPLED = 4096  # values that tell one picture from another
_STATE_BYTES = {"cpu": len(torch.Generator().get_state()), "cuda": 16}


@dataclass(frozen=True, eq=False)
class StageInfo:
    """What stage one knows and later nodes need: the frame rate, where its random numbers stopped, and of which
    generation its model is, None where that is not known."""

    fps: float
    generator_device: str
    generator_state: Tensor
    generation: Generation | None = None


@dataclass(frozen=True, eq=False)
class SoundInfo:
    """That a sound was given and is to stay, with the film's part of it; None where nothing but its latent is known."""

    waveform: GivenSound | None = None


@dataclass(frozen=True, eq=False)
class _SoundRecord:
    sound: str
    info: SoundInfo


@dataclass(frozen=True, eq=False)
class _MadeRecord:
    sound: str
    generation: Generation


@dataclass(frozen=True, eq=False)
class _FilmRecord:
    picture: str
    film: GivenFilm


@dataclass(frozen=True, eq=False)
class _Record:
    picture: str
    latent_frames: int
    info: StageInfo


def recorded(info: StageInfo, video: Tensor) -> dict:
    """The entry of a LATENT that says `info` of its picture `video` (1, 128, F, H, W)."""
    record = _Record(_name_of(video), video.shape[2], info)
    return {f"{KEY} {record.picture} {info.fps:g}": record}


def recorded_sound(info: SoundInfo, audio: Tensor) -> dict:
    """The entry of a LATENT that says `info` of its sound `audio` (1, 8, T, 16)."""
    record = _SoundRecord(_name_of(audio), info)
    return {f"{KEY} sound {record.sound}": record}


def sound_info_of(latent: dict, audio: Tensor) -> SoundInfo | None:
    """What is recorded of the sound `audio`; None where it was made, or changed since."""
    records = [value for value in latent.values() if isinstance(value, _SoundRecord)]
    name = _name_of(audio) if records else None
    return next((record.info for record in records if record.sound == name), None)


def recorded_maker(generation: Generation | None, audio: Tensor) -> dict:
    """The entry of a LATENT that says which generation's model made its sound `audio` (1, 8, T, 16) alone."""
    if generation is None:
        return {}
    record = _MadeRecord(_name_of(audio), generation)
    return {f"{KEY} made {record.sound}": record}


def maker_of(latent: dict, audio: Tensor) -> Generation | None:
    """Of which generation the model is that made the sound `audio` alone; None where that is not recorded."""
    records = [value for value in latent.values() if isinstance(value, _MadeRecord)]
    name = _name_of(audio) if records else None
    return next((record.generation for record in records if record.sound == name), None)


def recorded_film(film: GivenFilm, video: Tensor) -> dict:
    """The entry of a LATENT that says of which `film` its picture `video` (1, 128, F, H, W) is a part."""
    record = _FilmRecord(_name_of(video), film)
    return {f"{KEY} film {record.picture}": record}


def film_of(latent: dict, video: Tensor) -> tuple[GivenFilm | None, bool]:
    """The film of which the picture `video` is recorded to be a part; and whether there is a record of another one, as
    where another node changed the picture since."""
    records = [value for value in latent.values() if isinstance(value, _FilmRecord)]
    name = _name_of(video) if records else None
    film = next((record.film for record in records if record.picture == name), None)
    return film, film is None and bool(records)


def of_others(latent: dict) -> dict:
    """The entries of a LATENT that other nodes put there, without its tensors, masks and our records."""
    return {
        key: value
        for key, value in latent.items()
        if key not in ("samples", "noise_mask")
        and not isinstance(value, (_Record, _SoundRecord, _MadeRecord, _FilmRecord))
    }


def info_of(latent: dict, video: Tensor) -> StageInfo | None:
    """What is recorded of the picture `video`; None where nothing is, as in latents of core's nodes.

    A picture that other nodes changed is no longer the recorded one: then the record of a picture as long counts.
    GeometryError where records of different frame rates are left.
    """
    records = [value for value in latent.values() if isinstance(value, _Record)]
    name = _name_of(video) if records else None
    own = [record for record in records if record.picture == name]
    alike = own or [record for record in records if record.latent_frames == video.shape[2]] or records
    rates = sorted({record.info.fps for record in alike})
    if len(rates) > 1:
        raise GeometryError(
            f"The latent was joined from films of {' and '.join(f'{rate:g}' for rate in rates)} frames a second, and "
            f"its picture of {pixel_frames(video.shape[2])} frames was changed by another node: which rate it has "
            "cannot be told. Join picture and sound of films with the same frame rate."
        )
    # A join puts the entries of the picture's latent first.
    return alike[0].info if alike else None


def problem_of_generator(device: str, state: Tensor) -> str | None:
    """What is wrong with the state of a random generator (N,) uint8 on that kind of device; None if nothing is."""
    size = _STATE_BYTES.get(device)
    if size is not None and len(state) != size:
        return f"it has {len(state)} bytes, expected the {size} of a generator on '{device}'"
    if device == "cpu":
        try:
            torch.Generator().set_state(state)
        except RuntimeError:
            return "its bytes are no state that a generator can have"
    return None


def continue_noise(generator: torch.Generator, info: StageInfo) -> None:
    """Has `generator` go on where stage one stopped; ConditioningError when it cannot."""
    if info.generator_device != generator.device.type:
        raise ConditioningError(
            f"Stage one drew its noise on '{info.generator_device}', stage two would continue on "
            f"'{generator.device.type}'. Set the same noise_device in both samplers, or noise to 'new seed'."
        )
    try:
        generator.set_state(info.generator_state)
    except (RuntimeError, TypeError) as error:
        raise ConditioningError(
            f"The random numbers of stage one cannot be continued from this latent ({error}). Set noise to 'new seed'."
        ) from error


def _name_of(latent: Tensor) -> str:
    """A few letters that tell a picture or a sound from others, by its shape and some of its values."""
    values = latent.detach().flatten()
    values = values[:: max(1, len(values) // _SAMPLED)].to(device="cpu", dtype=torch.float32)
    shape = repr(tuple(latent.shape)).encode()
    return hashlib.blake2b(shape + values.contiguous().numpy().tobytes(), digest_size=8).hexdigest()
