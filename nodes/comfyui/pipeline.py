"""What the nodes do, phase by phase: load the component that a phase takes, call the engine, hand the result over."""

from dataclasses import replace

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.errors import ConditioningError, GeometryError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.request import check_voice_beside
from ...ltx_core.sampling.conditions import GivenFilm, Kept
from ...ltx_core.sampling.geometry import LatentGeometry, check_two_stage, geometry_of_latent
from ...ltx_core.sampling.guidance import OFF, Guidance
from ...ltx_core.sampling.samplers import named_sampler
from ...ltx_core.sampling.schedule import (
    DISTILLED_STAGE_ONE,
    begins_with_noise,
    checked_sigmas,
    ltx2_sigmas,
    partial_sigmas,
)
from ...ltx_core.sampling.stage import AVLatent, Sampler, check_reuse
from ...ltx_core.upsampler.model import upsample_latent
from .. import sounds
from ..given import NOTHING, Given
from ..names import BY_SIZE, FULL, HALF, OF_DISTILLED, RECIPE
from ..sigmas import remarks, unused_schedule
from . import core_model, latents, noise_masks
from .conditioning import notes_on
from .core_upsampler import latent_upsampler
from .core_vae import video_vae
from .fitting import with_more_room
from .generations import check_together
from .handles import SampledModel
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
    denoise: float = 1.0,
    size: str = HALF,
    sampler: str = RECIPE,
    schedule: str = RECIPE,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage one, at half of `width` and `height`, or at them where `size` is 'full'.

    `model` as `core_model.take` takes it, `vae` as `core_vae.video_vae`.
    """
    report = report or NodeReport()
    model, vae = core_model.take(model, report), video_vae(vae)
    made_by = None if latent is None else latents.generation_of(latent)
    check_together(model=model.generation, vae=vae.generation, latent=made_by)
    final = check_two_stage(width, height, frames, fps)
    geometry = final if size == FULL else final.half()
    guidance = model.variant.guidance_for(guidance)
    own = sigmas is not None
    report.warn(unused_schedule(schedule, own))
    sigmas = checked_sigmas(sigmas) if own else schedule_of(schedule, model, steps, geometry)
    sigmas = partial_sigmas(sigmas, denoise)
    features = model.features(positive), None if negative is None else model.features(negative)
    film, sound = (conditions or NOTHING).film, _sound(conditions, geometry)
    voice = (conditions or NOTHING).voice
    if voice is not None:
        check_voice_beside(conditions.sound, film)
        guidance = replace(guidance, identity=voice.scale)
    if film is not None:
        _check_beside(film, sigmas, conditions, latent)
    initial = None if latent is None else _fitted(latent, geometry)
    for note in notes_on({"positive": positive, "negative": negative}, fps):
        report.warn(note)
    if denoise < 1 and latent is None and film is None:
        report.warn(
            "denoise is below 1, but there is nothing to begin from: connect a latent, or give a film in the "
            "conditions. Without either the picture is made of noise alone and stays rough."
        )
    if latent is not None and (before := latents.info_of(latent)) is not None and before.fps != fps:
        report.warn(
            f"The start latent was made for {before.fps:g} frames a second, and is continued at {fps:g}, as this "
            f"node's fps says: what moves in it changes its speed. Set fps to {before.fps:g} to keep it."
        )
    kept = None if latent is None or sound is not None else _kept_sound(latent, geometry)
    masked = (None, None) if initial is None else _masked(latent, initial, kept)
    from_noise = begins_with_noise(sigmas)
    generator = torch.Generator(noise_device_of(noise_device)).manual_seed(seed)
    chosen = samplers_of(sampler, model, generator)[0]
    check_reuse(guidance, chosen)
    run = StageRun(model, 1, geometry, conditions, guidance, features, film, _whole(masked), from_noise)
    _warn(report, sigmas, 1, own or denoise < 1, initial, film)
    if sound is not None:
        for remark in sounds.remarks(conditions.sound, geometry.frames, geometry.fps):
            report.warn(remark)
        if initial is not None and initial.audio is not None and initial.audio.any():
            report.warn("The sound of the connected latent gives way to the one of LTX Sound Condition.")

    encoded, picture, heard = run.encode_images(vae, report), run.encode_film(vae, report), run.encode_sound(vae)
    picture, heard = picture or masked[0], heard or masked[1]
    encoded += run.encode_references(vae, report)
    stage = two_stage.stage_one(
        geometry, sigmas, guidance, conditions=encoded, initial=initial, video=picture, audio=heard,
        voice=run.encode_voice(vae), sampler=chosen,
    )  # fmt: skip
    result = run.sample(stage, generator, report)
    return latents.make(
        result.video, _bits(heard, result.audio), _info(geometry, generator, model), like=latent, sound=sound or kept,
        film=film, kept=(picture, heard),
    )  # fmt: skip


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
    sampler: str = RECIPE,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of stage two, at the size of the given latent.  `model` and `vae` as in stage one."""
    report = report or NodeReport()
    model, vae = core_model.take(model, report), video_vae(vae)
    video, _ = latents.take(latent)
    check_together(model=model.generation, vae=vae.generation, latent=latents.generation_of(latent))
    features = model.features(positive), None
    geometry = geometry_of_latent(video, latents.fps_of(latent, positive, report))
    start = _fitted(latent, geometry)
    for note in notes_on({"positive": positive}, geometry.fps):
        report.warn(note)
    own = sigmas is not None
    sigmas = checked_sigmas(sigmas) if own else model.variant.stage_two_schedule()
    sound, kept = _sound(conditions, geometry), _kept_sound(latent, geometry)
    film = _film(conditions, latent, report)
    if film is not None:
        film.check_beside(True, images=_shows(conditions or NOTHING), sound=sound is not None)
    if sound is not None and kept is not None and _is_same(sound, kept):
        conditions, sound = replace(conditions, sound=None), None  # it is in the latent already
    elif sound is not None:
        report.warn(
            "Stage one made the picture without this sound, or to another one: it only fits what stage two still "
            "changes. Connect the same conditions to LTX Stage One Sampler."
        )
    masked = _masked(latent, start, kept)
    run = StageRun(model, 2, geometry, conditions, OFF, features, film, _whole(masked))
    info = latents.info_of(latent)
    generator = torch.Generator(noise_device_of(noise_device))
    if new_seed or info is None:
        generator.manual_seed(seed)
    else:
        continue_noise(generator, info)
    _warn(report, sigmas, 2, own, start)

    encoded, picture, heard = run.encode_images(vae, report), run.encode_film(vae, report), run.encode_sound(vae)
    picture, heard = picture or masked[0], heard or masked[1]
    encoded += run.encode_references(vae, report)
    stage = two_stage.stage_two(
        geometry, start, sigmas, conditions=encoded, video=picture, audio=heard, voice=run.encode_voice(vae),
        clean_background=clean_background, sampler=samplers_of(sampler, model, generator)[1],
    )  # fmt: skip
    result = run.sample(stage, generator, report)
    audio = _bits(heard, start.audio if keep_audio else result.audio)
    return latents.make(
        result.video, audio, _info(geometry, generator, model), like=latent, sound=sound or kept, film=film,
        kept=(picture, heard),
    )  # fmt: skip


def run_upsampler(latent: dict, upsampler: object, vae: object, report: NodeReport | None = None) -> dict:
    """The LATENT with its picture enlarged; the sound and what travels along stay.

    `upsampler` and `vae`: as `core_upsampler.latent_upsampler` and `core_vae.video_vae` take them.
    """
    upsampler, vae = latent_upsampler(upsampler), video_vae(vae)
    check_together(latent=latents.generation_of(latent), vae=vae.generation)
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
    film, info = latents.film_of(latent, report), latents.info_of(latent)
    made = latents.make(video, audio, info, like=latent, sound=latents.sound_info(latent), film=film)
    return made | noise_masks.enlarged(latent, latents.take(made)[0])


def noise_device_of(choice: str) -> torch.device:
    """The device that noise is drawn on, 'cpu' or 'gpu'."""
    return torch.device("cpu") if choice == "cpu" else mm.get_torch_device()


def samplers_of(name: str, model: SampledModel, generator: torch.Generator) -> tuple[Sampler, Sampler]:
    """Of both stages.  What noise they make is drawn where a stage's is, from the seed that stage one began with."""
    seed, device = generator.initial_seed(), generator.device
    if name == RECIPE:
        return model.variant.samplers(seed, device)
    return (named_sampler(name, seed, device),) * 2


def schedule_of(name: str, model: SampledModel, steps: int, geometry: LatentGeometry | None) -> Tensor:
    """Stage one's noise levels (steps + 1,); only those by size ask for a `geometry`."""
    if name == BY_SIZE:
        return ltx2_sigmas(steps, geometry.video_tokens)
    return torch.tensor(DISTILLED_STAGE_ONE) if name == OF_DISTILLED else model.variant.stage_one_schedule(steps)


def _warn(
    report: NodeReport, sigmas: Tensor, stage: int, own: bool, start: AVLatent | None, film: GivenFilm | None = None
) -> None:
    """Says on the node what the noise schedule does that its user may not expect."""
    begun = start is not None or (film is not None and not begins_with_noise(sigmas))
    picture = (start is None or bool(start.video.any())) if begun else None
    for remark in remarks(float(sigmas[0]), float(sigmas[-1]), stage, own, picture):
        report.warn(remark)


def _info(geometry: LatentGeometry, generator: torch.Generator, model: SampledModel) -> latents.StageInfo:
    return latents.StageInfo(float(geometry.fps), generator.device.type, generator.get_state(), model.generation)


def _film(given: Given | None, latent: dict, report: NodeReport) -> GivenFilm | None:
    """The film that the chain gives, else the one of which the latent is a part."""
    film = (given or NOTHING).film
    return latents.film_of(latent, report) if film is None else film


def _check_beside(film: GivenFilm, sigmas: Tensor, given: Given, latent: dict | None) -> None:
    """ConditioningError where a film and what is given beside it do not go together."""
    film.check_beside(begins_with_noise(sigmas), images=_shows(given), sound=given.sound is not None)
    if latent is not None:
        raise ConditioningError(
            "A start latent is connected, and the conditions give a film: stage one begins from one of both. Take the "
            "latent away, or the film out of the conditions; with denoise below 1 a film is begun from too."
        )


def _shows(given: Given) -> bool:
    """Whether anything is given that the picture is made by."""
    return bool(given.images or given.references)


def _masked(latent: dict, start: AVLatent, sound: SoundInfo | None) -> tuple[Kept | None, Kept | None]:
    """What of picture and sound the latent itself keeps: by its noise masks, or because its sound was given.

    ConditioningError where that is all of both.
    """
    picture, heard = noise_masks.kept(latent, start)
    if sound is not None:
        heard = Kept(start.audio)
    if all(_whole((picture, heard))):
        raise ConditioningError(
            "The latent's noise masks keep all of the picture and all of the sound, so that nothing is left to make. "
            "Set a mask that is 1 where something is to change."
        )
    return picture, heard


def _whole(kept: tuple[Kept | None, Kept | None]) -> tuple[bool, bool]:
    """Which of both streams stay as a whole."""
    return tuple(own is not None and own.everything for own in kept)


def _bits(given: Kept | None, made: Tensor | None) -> Tensor | None:
    """A sound that is given as a whole stays what it was, in its own dtype."""
    return given.latent if given is not None and given.everything else made


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
