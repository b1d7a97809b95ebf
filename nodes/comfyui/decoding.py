"""Latents to frames and sound: in one piece where memory allows, else in tiles of a size that fits."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import comfy.model_management as mm
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.audio_vae import resample
from ...ltx_core.errors import GeometryError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.sampling.conditions import GivenFilm, GivenSound
from ...ltx_core.sampling.geometry import pixel_frames
from ...ltx_core.splicing import given_sound, splice_frames, splice_sound
from . import compat, latents, stage_info
from .core_vae import AudioVAE, audio_vae, sound_of, video_vae
from .fitting import with_more_room
from .generations import check_together
from .memory import check_finite, load_together
from .picture_decoding import decode_picture
from .progress import READING, NodeProgress, PhaseReporter
from .report import NodeReport

PICTURE, SOUND = "decoding picture", "decoding sound"
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
USUAL_RATE = 48000


def run_decode(
    latent: dict, vae: Any, audio: Any | None, tiling: str, tile: tuple[int, int, int, int], report: NodeReport
) -> tuple:
    """VIDEO, IMAGE and AUDIO of a LATENT; GeometryError for a picture with the sound of another film.

    A sound that was given comes out as it was.  vae, audio: the inputs `vae` and `audio_vae`, ours or ComfyUI's.  tile:
    size, overlap, frames and overlap in frames of `custom` tiles, in the order of `custom_tiling`.
    """
    from comfy_api.latest import InputImpl, Types

    picture_vae = video_vae(vae)
    video, sound = latents.take(latent)
    info, film = latents.sound_info(latent), latents.film_of(latent, report)
    given = None if info is None else info.waveform
    made = sound is not None and given is None and (film is None or film.new_sound)
    check_together(latent=latents.generation_of(latent), vae=picture_vae.generation)
    if made:
        sound_vae = sound_of(vae, audio)
        check_together(vae=picture_vae.generation, audio_vae=sound_vae.generation)
    elif audio is not None:
        audio_vae(audio)
        why = "has no sound" if sound is None else "has a sound that was given, which comes out as it is"
        report.warn(f"The latent {why}: audio_vae is not used.")
    fps = latents.fps_of(latent, report=report)
    if sound is not None:
        latents.check_audio_length(sound, pixel_frames(video.shape[2]), fps)
    report.warn(picture_vae.note)
    progress = NodeProgress({READING: 1, PICTURE: 20, SOUND: 2})
    progress.phase(READING)
    reporter = progress.phase(PICTURE)
    stage = latents.info_of(latent)
    decode = partial(decode_picture, picture_vae, video, stage, tiling, tile, reporter, report)
    if film is None:
        images = decode()
    else:
        images, fps = _film_frames(film, decode, reporter), film.fps
    wave = _decode_audio(sound_vae, sound, progress.phase(SOUND)) if made else None
    wave = _heard(wave, given, film, len(images), fps)
    components = Types.VideoComponents(
        images=images, audio=_for_video(wave), frame_rate=Fraction(fps).limit_denominator(1001)
    )
    return InputImpl.VideoFromComponents(components), images, wave


def run_sound_decode(latent: dict, audio: Any, report: NodeReport) -> dict:
    """AUDIO of a LATENT with a sound, alone or with its picture, which is not decoded; GeometryError without one.

    A sound that was given comes out as it was.  audio: the input `audio_vae`, ours or ComfyUI's.
    """
    video, sound = latents.take_sound(latent)
    vae = audio_vae(audio)
    if video is None:
        info, film, fps, frames = stage_info.sound_info_of(latent, sound), None, None, None
        maker = stage_info.maker_of(latent, sound)
    else:
        info, film = latents.sound_info(latent), latents.film_of(latent, report)
        fps, frames = latents.fps_of(latent, report=report), pixel_frames(video.shape[2])
        latents.check_audio_length(sound, frames, fps)
        maker = latents.generation_of(latent)
    check_together(latent=maker, audio_vae=vae.generation)
    given = None if info is None else info.waveform
    progress = NodeProgress({READING: 1, SOUND: 2})
    progress.phase(READING)
    wave = None
    if given is None and (film is None or film.new_sound):
        wave = _decode_audio(vae, sound, progress.phase(SOUND))
    else:
        report.note("The sound was given and comes out as it is: nothing is decoded")
    if video is None:
        return wave if given is None else _audio(given)
    wave = _heard(wave, given, film, frames, fps)
    if wave is None:
        raise GeometryError("The latent belongs to a film without a sound, which keeps it so: there is none to decode.")
    return wave


def _heard(wave: dict | None, given: GivenSound | None, film: GivenFilm | None, frames: int, fps: float) -> dict | None:
    """The AUDIO of `frames` frames: the decoded `wave`, or what was given in its place or around it."""
    if given is not None:
        return _audio(given.part(frames, fps) if film is None else given_sound(film, given))
    return wave if film is None else _film_sound(film, wave)


def _film_frames(film: GivenFilm, decode: Callable[[], Tensor], reporter: PhaseReporter) -> Tensor:
    """The frames of a given film with what was made of it; without decoding where the picture is kept."""
    if not film.new_picture:
        return film.frames.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())
    return splice_frames(film, decode(), reporter)


def _film_sound(film: GivenFilm, made: dict | None) -> dict | None:
    """The AUDIO of a given film with what was made of it; None for a silent film that stays so."""
    sound = None if made is None else GivenSound(made["waveform"][0].float().cpu(), made["sample_rate"])
    if sound is None and film.new_sound:
        return None
    spliced = splice_sound(film, sound)
    return None if spliced is None else _audio(spliced)


def _audio(sound: GivenSound) -> dict:
    """ComfyUI's AUDIO of a sound, at its own rate."""
    return {"waveform": sound.waveform[None].to(mm.intermediate_device()), "sample_rate": sound.sample_rate}


def _for_video(sound: dict | None) -> dict | None:
    """The AUDIO as a video file can hold it: AAC has few sampling rates, and Save Video asks for the sound's own."""
    if sound is None or sound["sample_rate"] in AAC_RATES:
        return sound
    waveform = resample(sound["waveform"].cpu(), sound["sample_rate"], USUAL_RATE)
    return {"waveform": waveform, "sample_rate": USUAL_RATE}


def _decode_audio(vae: AudioVAE, audio: Tensor, reporter: PhaseReporter) -> dict:
    decoder, vocoder = vae.audio_decoder(), vae.vocoder()
    need = memory_estimates.audio_decoder(audio.shape[2])
    load_together([decoder, vocoder], need)
    audio = audio.to(decoder.device, decoder.compute_dtype)

    def decode() -> Tensor:
        return two_stage.decode_audio(decoder.module, vocoder.module, audio, reporter)

    waveform = with_more_room(decode, [decoder, vocoder], need, "decoding the sound")
    check_finite(waveform, "decoded sound", decoder, vocoder)
    reporter.step(1, 1)
    return {"waveform": waveform, "sample_rate": vocoder.module.output_sampling_rate}
