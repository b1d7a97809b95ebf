"""Latents to frames and sound: in one piece where memory allows, else in tiles of a size that fits."""

import logging
from fractions import Fraction
from typing import Any

import comfy.model_management as mm
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.audio_vae import resample
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.precompile import compile_video_decoder
from ...ltx_core.sampling.conditions import GivenSound
from ...ltx_core.sampling.geometry import geometry_of_latent, pixel_frames
from ...ltx_core.video_vae.tiling import DEFAULT_TILING, Tiling, even_tiling, largest_tile
from . import compat, latents
from .checks import custom_tiling
from .core_vae import AudioVAE, VideoVAE, audio_vae, sound_of, video_vae
from .fitting import GIB, MORE_ROOM, available_memory, give_up, make_room, with_more_room
from .memory import PatchedModule, check_finite, load_together
from .progress import READING, NodeProgress, PhaseReporter
from .report import NodeReport

log = logging.getLogger("ltx_duo")

# A few even tiles take little longer than one piece; more than this is not worth the models that would have to go.
MODEST = 5 * GIB
PICTURE, SOUND = "decoding picture", "decoding sound"
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
USUAL_RATE = 48000
SMALLER_TILINGS = (DEFAULT_TILING, Tiling(512, 64, 48, 24), Tiling(384, 64, 32, 16), Tiling(256, 64, 24, 8))


def automatic(frames: int, height: int, width: int) -> tuple[Tiling | None, ...]:
    """What auto goes through until one fits: in one piece, few even tiles, the vendor's, then ever smaller ones."""
    return None, *(even_tiling(frames, height, width, parts) for parts in (2, 3)), *SMALLER_TILINGS


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
    info = latents.sound_info(latent)
    given = None if info is None else info.waveform
    if sound is not None and given is None:
        sound_vae = sound_of(vae, audio)
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
    images = _decode_video(picture_vae, video, tiling, tile, progress.phase(PICTURE))
    if given is not None:
        wave = _as_given(given, pixel_frames(video.shape[2]), fps)
    else:
        wave = None if sound is None else _decode_audio(sound_vae, sound, progress.phase(SOUND))
    components = Types.VideoComponents(
        images=images, audio=_for_video(wave), frame_rate=Fraction(fps).limit_denominator(1001)
    )
    return InputImpl.VideoFromComponents(components), images, wave


def _decode_video(
    vae: VideoVAE, video: Tensor, tiling: str, tile: tuple[int, int, int, int], reporter: PhaseReporter
) -> Tensor:
    component = vae.video_decoder()
    if tiling == "auto":
        geometry = geometry_of_latent(video, 1.0)
        ways = automatic(geometry.frames, geometry.height, geometry.width)
    else:
        ways = (None if tiling == "off" else custom_tiling(*tile),)
    images = _first_that_fits(component, video, ways, reporter)
    check_finite(images, "decoded video", component)
    return images.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())


def _first_that_fits(component: PatchedModule, video: Tensor, ways: tuple[Tiling | None, ...], reporter) -> Tensor:
    """The frames, decoded in the first of `ways` that fits by its estimate and by the device's own word."""
    needs = [_need(component, video, way) for way in ways]
    room = available_memory(component)
    if not mm.is_device_cpu(component.device):
        room -= component.patcher.model_size()
    room = min(room, max(MODEST, needs[-1]))
    if component.device.type == "cuda":
        compile_video_decoder(component.module.params, component.compute_dtype, component.device)
    first = next((i for i, need in enumerate(needs) if need <= room), len(ways) - 1)
    for i in range(first, len(ways)):
        way, last = ways[i], i == len(ways) - 1
        if i == first:
            component.load(needs[i])
        else:
            make_room(component, MORE_ROOM * needs[i])
        latent = video.to(component.device, component.compute_dtype)
        try:
            return two_stage.decode_video(component.module, latent, way, reporter)
        except BaseException as error:
            if not compat.is_out_of_memory(error):
                raise
            if last:
                advice = "Set its tiling to auto. " if len(ways) == 1 else ""
                raise give_up("decoding the video", error, advice) from error
        log.warning("LTX Duo: not enough memory to decode %s; going on with smaller tiles.", _words(way))
    raise AssertionError("the last way returns or raises")


def _need(component: PatchedModule, video: Tensor, way: Tiling | None) -> float:
    params, itemsize = component.module.params, component.compute_dtype.itemsize
    geometry = geometry_of_latent(video, 1.0)
    size = geometry.frames, geometry.height, geometry.width
    if way is None:
        return memory_estimates.video_decoder(params, *size, itemsize)
    return memory_estimates.tiled_decoder(params, size, largest_tile(video.shape, way), itemsize)


def _words(way: Tiling | None) -> str:
    return "in one piece" if way is None else f"in tiles of {way.spatial_tile} pixels and {way.temporal_tile} frames"


def _as_given(sound: GivenSound, frames: int, fps: float) -> dict:
    """The AUDIO that was given, as long as the film and at its own rate: it does not go through the VAE."""
    waveform = sound.part(frames, fps).waveform[None]
    return {"waveform": waveform.to(mm.intermediate_device()), "sample_rate": sound.sample_rate}


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
