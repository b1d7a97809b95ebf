"""ComfyUI's LATENT with picture and sound: taking it apart, putting it together, and what travels with it.

`samples` is ComfyUI's own NestedTensor((video, audio)), normalised, so native LTX-2 nodes and ours can be mixed.  What
our stages know beyond the tensors lies beside it in the dict (see stage_info); nodes that copy the dict pass it on,
nodes that build a new one lose it, and then the fallbacks here apply.
"""

import math

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core.errors import GeometryError
from ...ltx_core.generation import Generation
from ...ltx_core.sampling.conditions import GivenFilm, Kept
from ...ltx_core.sampling.geometry import (
    AUDIO_BINS,
    AUDIO_CHANNELS,
    AUDIO_LATENTS_PER_SECOND,
    HIGHEST_FPS,
    LOWEST_FPS,
    VIDEO_CHANNELS,
    audio_latents,
    pixel_frames,
)
from . import compat, conditioning, noise_masks, stage_info
from .report import NodeReport
from .stage_info import SoundInfo, StageInfo

COMMON_FPS = (24.0, 25.0, 30.0, 50.0, 60.0, 48.0, 15.0, 16.0, 12.0)
MOST_AUDIO_DIFFERENCE = 2


def make(
    video: Tensor,
    audio: Tensor | None,
    info: StageInfo | None,
    like: dict | None = None,
    sound: SoundInfo | None = None,
    film: GivenFilm | None = None,
    kept: tuple[Kept | None, Kept | None] = (None, None),
) -> dict:
    """A LATENT of video (1, 128, F, H, W) and audio (1, 8, T, 16): float32, on ComfyUI's intermediate device.

    `sound`: that the audio was given; `film`: the film of which both are a part; `kept`: what of both stays, which
    core's samplers read as noise masks.  What other nodes put into the LATENT `like` goes along; its tensors, masks and
    records do not.
    """
    tensors = [_settled(tensor) for tensor in (video, audio) if tensor is not None]
    latent = stage_info.of_others(like or {})
    latent["samples"] = compat.nested_tensor_class()(tensors) if audio is not None else tensors[0]
    if info is not None:
        latent |= stage_info.recorded(info, tensors[0])
    if sound is not None:
        latent |= stage_info.recorded_sound(sound, tensors[1])
    if film is not None:
        latent |= stage_info.recorded_film(film, tensors[0])
    if any(kept):
        latent |= noise_masks.entry(video, audio, *(None if own is None else own.made_anew for own in kept))
    return latent


def make_sound(audio: Tensor, generation: Generation | None) -> dict:
    """A LATENT of a sound (1, 8, T, 16) alone, as core's LTXVEmptyLatentAudio has it; `generation`: of its model."""
    settled = _settled(audio)
    return {"samples": settled, "type": "audio"} | stage_info.recorded_maker(generation, settled)


def take_sound(latent: dict) -> tuple[Tensor | None, Tensor]:
    """Video (1, 128, F, H, W), or None for a sound alone, and audio (1, 8, T, 16) of a LATENT.

    GeometryError for one without sound, and for latents of another kind.
    """
    samples = latent["samples"]
    if not getattr(samples, "is_nested", False) and samples.ndim == 4:
        check_audio(samples)
        return None, samples
    video, audio = take(latent)
    if audio is None:
        raise GeometryError(
            "The latent holds a picture and no sound. Connect one that has a sound, such as LTX Sound Sampler's."
        )
    return video, audio


def take(latent: dict) -> tuple[Tensor, Tensor | None]:
    """Video (1, 128, F, H, W) and audio (1, 8, T, 16), or None for a latent without sound, of a LATENT.

    GeometryError for latents of another kind.
    """
    samples = latent["samples"]
    parts = tuple(samples.unbind()) if getattr(samples, "is_nested", False) else (samples,)
    if len(parts) > 2:
        raise GeometryError(f"The latent holds {len(parts)} parts, expected a video and its sound. Take out the rest.")
    video, audio = parts if len(parts) == 2 else (parts[0], None)
    check_video(video)
    if audio is not None:
        check_audio(audio)
    return video, audio


def check_video(video) -> None:
    """GeometryError unless the tensor, or what a file says of one, is the latent of one video of LTX-2."""
    shape = tuple(video.shape)
    if len(shape) == 4 and shape[1::2] == (AUDIO_CHANNELS, AUDIO_BINS):
        raise GeometryError(
            f"The latent holds sound alone, of shape {shape}; expected a video. LTX Sound Decode makes it heard; "
            "LTXVConcatAVLatent joins it with a video."
        )
    if len(shape) != 5 or shape[1] != VIDEO_CHANNELS or 0 in shape:
        raise GeometryError(
            f"The latent holds a video of shape {shape}; expected (1, {VIDEO_CHANNELS}, frames, height, width) of "
            "LTX-2. Connect an LTX latent."
        )
    _check_one(shape, "videos")


def check_audio(audio) -> None:
    """GeometryError unless the tensor, or what a file says of one, is the latent of one sound of LTX-2."""
    shape = tuple(audio.shape)
    if len(shape) != 4 or shape[1::2] != (AUDIO_CHANNELS, AUDIO_BINS) or 0 in shape:
        raise GeometryError(
            f"The latent holds sound of shape {shape}; expected (1, {AUDIO_CHANNELS}, T, {AUDIO_BINS}) of LTX-2. "
            "Connect an LTX latent."
        )
    _check_one(shape, "sounds")


def _check_one(shape: tuple[int, ...], what: str) -> None:
    if shape[0] != 1:
        raise GeometryError(
            f"The latent holds a batch of {shape[0]} {what}, shape {shape}; expected 1. Set batch_size to 1 where it "
            "is made, or take one out with LatentFromBatch before picture and sound are joined; queue the prompt once "
            "for each film."
        )


def info_of(latent: dict) -> StageInfo | None:
    """What stage one left in the latent; None for latents that came another way.  GeometryError as stage_info's."""
    return stage_info.info_of(latent, take(latent)[0])


def generation_of(latent: dict) -> Generation | None:
    """Of which generation the model is that made its picture; None where nothing tells."""
    info = info_of(latent)
    return None if info is None else info.generation


def sound_info(latent: dict) -> SoundInfo | None:
    """That the latent's sound was given and stays as it is: our stages say so, or core's noise mask; else None."""
    _, audio = take(latent)
    if audio is None:
        return None
    return stage_info.sound_info_of(latent, audio) or (SoundInfo() if noise_masks.keeps_sound(latent) else None)


def film_of(latent: dict, report: NodeReport | None = None) -> GivenFilm | None:
    """The film of which our stages made the latent; None where none was given, or another node changed the picture,
    which is told."""
    film, changed = stage_info.film_of(latent, take(latent)[0])
    if changed:
        (report or NodeReport()).warn(
            "Another node changed the picture, or took it from elsewhere, since a film was given: it comes out as it "
            "is decoded, and nothing of the film is put back."
        )
    return film


def fps_of(latent: dict, text: list | None = None, report: NodeReport | None = None) -> float:
    """The latent's frame rate: it belongs to the picture.

    Native latents carry none: then it is the `frame_rate` of the CONDITIONING `text` (LTXVConditioning sets it), else
    it is guessed from the length of the sound, else 24; a guess is told.
    """
    info = info_of(latent)
    if info is not None:
        return info.fps
    rate = conditioning.frame_rate(text) if text else None
    if rate is not None:
        return rate
    video, audio = take(latent)
    fps = COMMON_FPS[0] if audio is None else _fps_of_sound(pixel_frames(video.shape[2]), audio.shape[2])
    source = "nothing in it tells the rate" if audio is None else f"its sound of {audio.shape[2]} latents fits that"
    to_do = "set it in LTXVConditioning on 'positive'" if text else "give 'images' and 'audio' to Create Video with it"
    (report or NodeReport()).warn(
        f"The latent carries no frame rate, as core's nodes keep none: {fps:g} frames a second are assumed "
        f"({source}). If it is another one, {to_do}."
    )
    return fps


def _fps_of_sound(frames: int, found: int) -> float:
    """The rate at which `frames` last as long as `found` latents of sound: a common one if one fits."""
    exact = frames * AUDIO_LATENTS_PER_SECOND / found
    possible = LOWEST_FPS <= exact <= HIGHEST_FPS
    for fps in (*COMMON_FPS, *((float(round(exact)),) if possible else ())):
        # Native nodes round the length of the sound up, the vendor to the nearest.
        if found in (audio_latents(frames, fps), math.ceil(frames / fps * AUDIO_LATENTS_PER_SECOND)):
            return fps
    if possible:
        return exact
    raise GeometryError(
        f"The latent's picture has {frames} frames, its sound {found} latents, {found / AUDIO_LATENTS_PER_SECOND:g} s: "
        f"no film has {exact:g} frames a second. Join a picture and a sound that last equally long."
    )


def check_audio_length(audio: Tensor, frames: int, fps: float) -> None:
    """GeometryError when sound (1, 8, T, 16) lasts longer or shorter than the video, by more than rounding."""
    found, expected = audio.shape[2], audio_latents(frames, fps)
    if abs(found - expected) > MOST_AUDIO_DIFFERENCE:
        raise GeometryError(
            f"The picture has {frames} frames at {fps:g} frames a second, {frames / fps:.2f} s, to which {expected} "
            f"latents of sound belong; this latent's sound has {found}, {found / AUDIO_LATENTS_PER_SECOND:.2f} s. Join "
            "a picture and a sound that last equally long."
        )


def with_audio_length(audio: Tensor, frames: int, fps: float) -> Tensor:
    """Sound (1, 8, T, 16) cut or extended to that of `frames` at `fps`; native nodes round its length up, the vendor to
    nearest.

    GeometryError when it is off by more than rounding: then it is the sound of another video.
    """
    check_audio_length(audio, frames, fps)
    found, length = audio.shape[2], audio_latents(frames, fps)
    if found < length:
        return torch.cat((audio, audio[:, :, -1:].expand(-1, -1, length - found, -1)), dim=2)
    return audio[:, :, :length]


def _settled(tensor: Tensor) -> Tensor:
    """A tensor of its own, float32, contiguous, on the intermediate device: never a view of a larger one."""
    settled = tensor.detach().to(device=mm.intermediate_device(), dtype=torch.float32).contiguous()
    return settled.clone() if settled.untyped_storage().nbytes() > settled.nbytes else settled
