"""What the nodes do, phase by phase: load the component that a phase takes, call the engine, hand the result over."""

from dataclasses import replace

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.errors import GeometryError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.sampling.geometry import LatentGeometry, check_two_stage, geometry_of_latent
from ...ltx_core.sampling.guidance import OFF, Guidance
from ...ltx_core.sampling.schedule import checked_sigmas
from ...ltx_core.sampling.stage import AVLatent
from ...ltx_core.upsampler.model import upsample_latent
from .. import sounds
from ..given import NOTHING, Given
from ..sigmas import remarks
from . import core_model, latents
from .conditioning import notes_on
from .core_upsampler import latent_upsampler
from .core_vae import video_vae
from .fitting import with_more_room
from .memory import check_finite
from .progress import READING, NodeProgress
from .report import NodeReport
from .stage_info import SoundInfo, continue_noise
from .stage_run import StageRun


def run_stage_one(
    model: object,
    vae: object,
    positive: list,
    negative: list | None = None,
    *,
    width: int,
    height: int,
    frames: int,
    fps: float,
    steps: int,
    seed: int,
    noise_device: str,
    conditions: Given | None = None,
    guidance: Guidance | None = None,
    sigmas: Tensor | None = None,
    latent: dict | None = None,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage one, at half of `width` and `height`.

    `model` as `core_model.take` takes it, `vae` as `core_vae.video_vae`.
    """
    report = report or NodeReport()
    model, vae = core_model.take(model, report), video_vae(vae)
    geometry = check_two_stage(width, height, frames, fps).half()
    guidance = model.variant.guidance if guidance is None else guidance
    own = sigmas is not None
    sigmas = checked_sigmas(sigmas) if own else model.variant.stage_one_schedule(steps)
    features = model.features(positive), None if negative is None else model.features(negative)
    sound = _sound(conditions, geometry)
    initial = None if latent is None else _fitted(latent, geometry)
    for note in notes_on({"positive": positive, "negative": negative}, fps):
        report.warn(note)
    if latent is not None and (before := latents.info_of(latent)) is not None and before.fps != fps:
        report.warn(
            f"The start latent was made for {before.fps:g} frames a second, and is continued at {fps:g}, as this "
            f"node's fps says: what moves in it changes its speed. Set fps to {before.fps:g} to keep it."
        )
    kept = None if latent is None or sound is not None else _kept_sound(latent, geometry)
    run = StageRun(model, 1, geometry, conditions, guidance, features, kept is not None)
    generator = torch.Generator(noise_device_of(noise_device)).manual_seed(seed)
    _warn(report, sigmas, 1, own, initial)
    if sound is not None:
        for remark in sounds.remarks(conditions.sound, geometry.frames, geometry.fps):
            report.warn(remark)
        if initial is not None and initial.audio is not None and initial.audio.any():
            report.warn("The sound of the connected latent gives way to the one of LTX Sound Condition.")

    encoded = run.encode_images(vae, report)
    audio = initial.audio if kept is not None else run.encode_sound(vae)
    stage = two_stage.stage_one(
        geometry, sigmas, guidance, conditions=encoded, initial=initial, sound=audio, sampler=model.variant.sampler
    )
    result = run.sample(stage, generator, report)
    audio, info = result.audio if audio is None else audio, _info(geometry, generator)
    return latents.make(result.video, audio, info, like=latent, sound=sound or kept)


def run_stage_two(
    model: object,
    vae: object,
    positive: list,
    latent: dict,
    *,
    new_seed: bool,
    seed: int,
    keep_audio: bool,
    clean_background: bool,
    noise_device: str,
    conditions: Given | None = None,
    sigmas: Tensor | None = None,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage two, at the size of the given latent.  `model` and `vae` as in stage one."""
    report = report or NodeReport()
    model, vae = core_model.take(model, report), video_vae(vae)
    video, _ = latents.take(latent)
    features = model.features(positive), None
    geometry = geometry_of_latent(video, latents.fps_of(latent, positive, report))
    start = _fitted(latent, geometry)
    for note in notes_on({"positive": positive}, geometry.fps):
        report.warn(note)
    own = sigmas is not None
    sigmas = checked_sigmas(sigmas) if own else model.variant.stage_two_schedule()
    sound, kept = _sound(conditions, geometry), _kept_sound(latent, geometry)
    if sound is not None and kept is not None and _is_same(sound, kept):
        conditions, sound = replace(conditions, sound=None), None  # it is in the latent already
    elif sound is not None:
        report.warn(
            "Stage one made the picture without this sound, or to another one: it only fits what stage two still "
            "changes. Connect the same conditions to LTX Stage One Sampler."
        )
    run = StageRun(model, 2, geometry, conditions, OFF, features, kept is not None)
    info = latents.info_of(latent)
    generator = torch.Generator(noise_device_of(noise_device))
    if new_seed or info is None:
        generator.manual_seed(seed)
    else:
        continue_noise(generator, info)
    _warn(report, sigmas, 2, own, start)

    encoded = run.encode_images(vae, report)
    audio = run.encode_sound(vae)
    if audio is None and kept is not None:
        audio = start.audio
    stage = two_stage.stage_two(
        geometry, start, sigmas, conditions=encoded, sound=audio, clean_background=clean_background,
        sampler=model.variant.sampler,
    )  # fmt: skip
    result = run.sample(stage, generator, report)
    if audio is None:
        audio = start.audio if keep_audio else result.audio
    return latents.make(result.video, audio, _info(geometry, generator), like=latent, sound=sound or kept)


def run_upsampler(latent: dict, upsampler: object, vae: object, report: NodeReport | None = None) -> dict:
    """The LATENT with its picture enlarged; the sound and what travels along stay.

    `upsampler` and `vae`: as `core_upsampler.latent_upsampler` and `core_vae.video_vae` take them.
    """
    upsampler, vae = latent_upsampler(upsampler), video_vae(vae)
    (report or NodeReport()).warn(upsampler.note)
    video, audio = latents.take(latent)
    progress = NodeProgress({READING: 1, "upsampling": 4})
    progress.phase(READING)
    statistics, component = vae.statistics(), upsampler.component()
    frames, height, width = video.shape[2:]
    scale = float(upsampler.params.spatial_scale)
    need = memory_estimates.upsampler(
        upsampler.params, frames, int(height * scale), int(width * scale), component.compute_dtype.itemsize
    )
    component.load(need)
    reporter = progress.phase("upsampling")
    reporter.check_cancel()
    video = video.to(component.device, component.compute_dtype)

    def enlarge():
        return upsample_latent(component.module, statistics, video, reporter)

    with torch.no_grad():
        video = with_more_room(enlarge, [component], need, "enlarging the latent")
    check_finite(video, "upsampled latent", component)
    reporter.step(1, 1)
    return latents.make(video, audio, latents.info_of(latent), like=latent, sound=latents.sound_info(latent))


def noise_device_of(choice: str) -> torch.device:
    """The device that noise is drawn on, 'cpu' or 'gpu'."""
    return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()


def _warn(report: NodeReport, sigmas: Tensor, stage: int, own: bool, start: AVLatent | None) -> None:
    """Says on the node what the noise schedule does that its user may not expect."""
    picture = None if start is None else bool(start.video.any())
    for remark in remarks(float(sigmas[0]), float(sigmas[-1]), stage, own, picture):
        report.warn(remark)


def _info(geometry: LatentGeometry, generator: torch.Generator) -> latents.StageInfo:
    return latents.StageInfo(float(geometry.fps), generator.device.type, generator.get_state())


def _sound(given: Given | None, geometry: LatentGeometry) -> SoundInfo | None:
    """The part of a given sound that the film has."""
    sound = (given or NOTHING).sound
    return None if sound is None else SoundInfo(sound.part(geometry.frames, geometry.fps))


def _kept_sound(latent: dict, geometry: LatentGeometry) -> SoundInfo | None:
    """What is known of a sound in the latent that was given, as long as the film is now."""
    info = latents.sound_info(latent)
    if info is None or info.waveform is None:
        return info
    return SoundInfo(info.waveform.part(geometry.frames, geometry.fps))


def _is_same(one: SoundInfo, other: SoundInfo) -> bool:
    a, b = one.waveform, other.waveform
    return b is not None and a.sample_rate == b.sample_rate and torch.equal(a.waveform, b.waveform)


def _fitted(latent: dict, geometry: LatentGeometry) -> AVLatent:
    """The latent as the engine takes it; native sound, which is rounded up, gets the length of the vendor's."""
    video, audio = latents.take(latent)
    if tuple(video.shape[1:]) != geometry.video_shape:
        raise GeometryError(
            f"The latent is {tuple(video.shape[2:])} (frames, height, width), but this stage works at "
            f"{geometry.video_shape[1:]}: {geometry.width}x{geometry.height} pixels and {geometry.frames} frames."
        )
    if audio is not None:
        audio = latents.with_audio_length(audio, geometry.frames, geometry.fps)
    return AVLatent(video, audio)
