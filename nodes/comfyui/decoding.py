"""Latents to frames and sound: in one piece where memory allows, else in tiles of a size that fits."""

from fractions import Fraction
from functools import partial
from typing import Any

import comfy.model_management as mm
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.audio_vae import resample
from ...ltx_core.errors import GeometryError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.precompile import compile_video_decoder
from ...ltx_core.sampling.conditions import GivenFilm, GivenSound
from ...ltx_core.sampling.geometry import geometry_of_latent, pixel_frames
from ...ltx_core.splicing import given_sound, splice_frames, splice_sound
from ...ltx_core.video_vae.tiling import Tiling, largest_tile
from . import compat, latents, stage_info
from .checks import custom_tiling
from .core_vae import AudioVAE, VideoVAE, audio_vae, sound_of, video_vae
from .fitting import with_more_room
from .generations import check_together
from .memory import PatchedModule, check_finite, load_together
from .progress import READING, NodeProgress, PhaseReporter
from .report import NodeReport
from .tiles import automatic, first_that_fits

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
    if film is None:
        images = _decode_video(picture_vae, video, tiling, tile, reporter)
    else:
        images, fps = _film_frames(film, picture_vae, video, tiling, tile, reporter), film.fps
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


def _decode_video(
    vae: VideoVAE, video: Tensor, tiling: str, tile: tuple[int, int, int, int], reporter: PhaseReporter
) -> Tensor:
    component = vae.video_decoder()
    if tiling == "auto":
        geometry = geometry_of_latent(video, 1.0)
        ways = automatic(geometry.frames, geometry.height, geometry.width)
    else:
        ways = (None if tiling == "off" else custom_tiling(*tile),)
    if component.device.type == "cuda":
        compile_video_decoder(component.module.params, component.compute_dtype, component.device)

    def decode(way: Tiling | None) -> Tensor:
        latent = video.to(component.device, component.compute_dtype)
        return two_stage.decode_video(component.module, latent, way, reporter)

    advice = "Set its tiling to auto. " if len(ways) == 1 else ""
    images = first_that_fits(component, ways, partial(_need, component, video), decode, "decoding the video", advice)
    check_finite(images, "decoded video", component)
    return images.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())


def _film_frames(film: GivenFilm, vae: VideoVAE, video: Tensor, tiling: str, tile: tuple, reporter) -> Tensor:
    """The frames of a given film with what was made of it; without decoding where the picture is kept."""
    if not film.new_picture:
        return film.frames.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())
    made = _decode_video(vae, video, tiling, tile, reporter)
    return splice_frames(film, made, reporter)


def _film_sound(film: GivenFilm, made: dict | None) -> dict | None:
    """The AUDIO of a given film with what was made of it; None for a silent film that stays so."""
    sound = None if made is None else GivenSound(made["waveform"][0].float().cpu(), made["sample_rate"])
    if sound is None and film.new_sound:
        return None
    spliced = splice_sound(film, sound)
    return None if spliced is None else _audio(spliced)


def _need(component: PatchedModule, video: Tensor, way: Tiling | None) -> float:
    params, itemsize = component.module.params, component.compute_dtype.itemsize
    geometry = geometry_of_latent(video, 1.0)
    size = geometry.frames, geometry.height, geometry.width
    if way is None:
        return memory_estimates.video_decoder(params, *size, itemsize)
    return memory_estimates.tiled_decoder(params, size, largest_tile(video.shape, way), itemsize)


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
