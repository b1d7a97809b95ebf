"""Runs our pipelines from the same files, and keeps what the vendor's run keeps."""

import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from ltx_duo.ltx_core import sound_only, two_stage
from ltx_duo.ltx_core.loading_components import load_components, load_sound_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import StagedLoRA
from ltx_duo.ltx_core.sampling import denoiser
from ltx_duo.ltx_core.sampling.conditions import (
    GivenFilm,
    GivenImage,
    GivenReference,
    GivenSound,
    encode_film,
    encode_film_sound,
)
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import sample_stage

from .scene import (
    EIGHT_BIT,
    GIVEN,
    GIVEN_VIDEO,
    HQ_LORA_STRENGTHS,
    Guide,
    Picture,
    Recording,
    Scales,
    Scene,
    SmallModel,
    Trace,
)

Pipeline = Literal[
    "two-stage", "distilled", "HQ", "keyframes", "one stage", "sound-given", "retake", "distilled retake", "IC-LoRA"
]
LORA_STRENGTHS = {
    "two-stage": (0.0, 1.0),
    "distilled": (0.0, 0.0),
    "HQ": HQ_LORA_STRENGTHS,
    "keyframes": (0.0, 1.0),
    "one stage": (0.0, 1.0),
    "sound-given": (0.0, 1.0),
    "IC-LoRA": (1.0, 0.0),
}


def load(model: SmallModel) -> two_stage.Components:
    """All components in float32, on the CPU as the vendor's."""
    return load_components(model.checkpoint, model.gemma, model.upsampler, dtype=torch.float32, device="cpu")


def run(
    components: two_stage.Components,
    model: SmallModel,
    scene: Scene,
    pipeline: Pipeline,
    *,
    stage_one_sound: bool,
    cross_timestep: Literal["own", "other"] = "own",
    given_sigma: Literal["0", "the stage's"] = "0",
    change_request: Callable[[two_stage.Request], two_stage.Request] = lambda request: request,
) -> Trace:
    """A float32 run on the CPU.

    The waveform is of stage one's sound, as in the vendor's newest version, or of stage two's; `cross_timestep` "other"
    is how the vendor's 1.0 modulates audio-video attention, `given_sigma` "the stage's" what else it reads of a sound
    that is given, whose tokens have the timestep 0.
    """
    trace: Trace = {}
    with pytest.MonkeyPatch.context() as patch:
        record(patch, trace)
        params = replace(components.transformer.params, cross_timestep=cross_timestep)
        patch.setattr(components.transformer, "params", params)
        if given_sigma != "0":
            make = denoiser._model_input
            patch.setattr(denoiser, "_model_input", lambda s, *rest: make(replace(s, frozen=False), *rest))
        if scene.film is not None:
            _retake(components, scene, pipeline, trace)
        else:
            file = model.ic_lora if pipeline == "IC-LoRA" else model.lora
            lora = StagedLoRA(LoRA.open(file), *LORA_STRENGTHS[pipeline])
            request = change_request(_request(scene, pipeline, stage_one_sound))
            result = two_stage.generate(components, request, loras=[lora])
            for stage, latent in (("one", result.stage_one), ("two", result.stage_two)):
                if latent is None:
                    continue
                trace[f"stage {stage} video latent"] = latent.video
                trace[f"stage {stage} audio latent"] = latent.audio
            trace["frames"], trace["waveform"] = result.frames, result.waveform
    # The vendor cuts off the fraction.
    trace[EIGHT_BIT] = (trace["frames"] * 255).to(torch.uint8)
    return trace


def run_sound_only(model: SmallModel, scene: Scene, parts: Sequence[Path] = ()) -> Trace:
    """A float32 run on the CPU of the scene's prompts, with its sound's guidance, from what is loaded for a sound."""
    components = load_sound_components(model.checkpoint, model.gemma, parts, dtype=torch.float32, device="cpu")
    request = sound_only.SoundRequest(
        scene.prompt,
        scene.frames / scene.fps,
        negative_prompt=scene.negative_prompt,
        seed=scene.seed,
        guidance=Guidance(_guidance(scene.video), _guidance(scene.audio), stg_blocks=scene.stg_blocks),
        sigmas=ltx2_sigmas(scene.steps),
    )
    trace: Trace = {}
    with pytest.MonkeyPatch.context() as patch:
        connect = sound_only.connect_sound

        def connect_recorded(*arguments):
            contexts = connect(*arguments)
            trace["positive audio context"], trace["negative audio context"] = contexts.audio, contexts.negative_audio
            return contexts

        patch.setattr(sound_only, "connect_sound", connect_recorded)
        result = sound_only.generate_sound(components, request)
    return trace | {"stage one audio latent": result.latent, "waveform": result.waveform}


@torch.no_grad()
def _retake(c: two_stage.Components, scene: Scene, pipeline: Pipeline, trace: Trace) -> None:
    """One stage at the film's size, decoded as a whole: nothing of the film is put back, as the vendor leaves it."""
    geometry = LatentGeometry(scene.width, scene.height, scene.frames, scene.fps)
    distilled, own = pipeline == "distilled retake", scene.film
    film = GivenFilm(
        own.frames.float() / 255, scene.fps, GivenSound(own.sound, own.rate), (own.window,),
        new_picture=own.new_picture, new_sound=own.new_sound,
    )  # fmt: skip
    texts = (scene.prompt,) if distilled else (scene.prompt, scene.negative_prompt)
    features = [two_stage.encode_prompt(c.tokenizer, c.text_encoder, text) for text in texts]
    contexts = two_stage.connect(c.video_connector, c.audio_connector, *features)
    placement = {"dtype": c.dtype, "device": c.device}
    video = encode_film(c.video_encoder, film, geometry, **placement)
    audio = encode_film_sound(c.audio_encoder, film, geometry, **placement)
    stage = two_stage.stage_one(
        geometry,
        torch.tensor(DISTILLED_STAGE_ONE) if distilled else ltx2_sigmas(scene.steps),
        OFF if distilled else Guidance(_guidance(scene.video), _guidance(scene.audio), stg_blocks=scene.stg_blocks),
        video=video,
        audio=audio,
    )
    result = sample_stage(c.transformer, stage, contexts, torch.Generator().manual_seed(scene.seed), **placement)
    trace[GIVEN_VIDEO], trace[GIVEN] = video.latent, audio.latent
    trace["stage one video latent"], trace["stage one audio latent"] = result.video, result.audio
    trace["frames"] = two_stage.decode_video(c.video_decoder, result.video)
    trace["waveform"] = two_stage.decode_audio(c.audio_decoder, c.vocoder, result.audio)


def _request(scene: Scene, pipeline: Pipeline, stage_one_sound: bool) -> two_stage.Request:
    geometry = LatentGeometry(scene.width, scene.height, scene.frames, scene.fps)
    request = two_stage.Request(
        prompt=scene.prompt,
        geometry=geometry,
        seed=scene.seed,
        images=tuple(given_image(picture, pipeline == "keyframes") for picture in scene.images),
        sound=None if scene.sound is None else _sound(scene.sound),
        references=tuple(_reference(guide, scene) for guide in scene.guides),
        stage_one_sound=stage_one_sound,
        generated_keyframes=scene.generated,
        **dev_request(scene),
    )
    if pipeline == "one stage":
        return replace(request, one_stage=True, stage_one_sound=None)
    if pipeline in ("distilled", "IC-LoRA"):
        return replace(request, guidance=OFF, stage_one_sigmas=torch.tensor(DISTILLED_STAGE_ONE))
    if pipeline == "HQ":
        sigmas = ltx2_sigmas(scene.steps, geometry.half().video_tokens)
        return replace(request, stage_one_sigmas=sigmas, sampler=sample_res_2s)
    return request


def dev_request(scene: Scene) -> dict[str, Any]:
    """What a scene says of stage one with guidance."""
    return {
        "negative_prompt": scene.negative_prompt,
        "guidance": Guidance(_guidance(scene.video), _guidance(scene.audio), stg_blocks=scene.stg_blocks),
        "stage_one_sigmas": ltx2_sigmas(scene.steps),
    }


def _guidance(scales: Scales) -> ModalityGuidance:
    return ModalityGuidance(cfg=scales.cfg, stg=scales.stg, modality=scales.modality, rescale=scales.rescale)


def given_image(picture: Picture, keyframe: bool = False) -> GivenImage:
    with Image.open(picture.path) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).float() / 255
    return GivenImage(pixels, picture.frame, picture.strength, crf=0, keyframe=keyframe)


def _reference(guide: Guide, scene: Scene) -> GivenReference:
    mask = scene.attention_mask
    return GivenReference(guide.frames.float() / 255, guide.strength, scene.attention_strength, mask)


def _sound(recording: Recording) -> GivenSound:
    with wave.open(str(recording.path)) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    samples = np.frombuffer(data, np.int16).reshape(-1, 2).T.astype(np.float32) / 32768
    return GivenSound(torch.from_numpy(samples.copy()), rate, recording.start)


def record(patch: pytest.MonkeyPatch, trace: Trace) -> None:
    """Keeps contexts, the given sound's latent and the upsampled one, which `generate` does not give back."""
    connect, upsample, encode_sound = two_stage.connect, two_stage.upsample, two_stage.encode_sound

    def connect_recorded(*arguments):
        contexts = connect(*arguments)
        for sign, video, audio in (
            ("positive", contexts.video, contexts.audio),
            ("negative", contexts.negative_video, contexts.negative_audio),
        ):
            trace[f"{sign} video context"], trace[f"{sign} audio context"] = video, audio
        return contexts

    def upsample_recorded(*arguments):
        latent = upsample(*arguments)
        trace["upsampled video latent"] = latent.video
        return latent

    def encode_recorded(*arguments, **settings):
        trace[GIVEN] = encode_sound(*arguments, **settings)
        return trace[GIVEN]

    patch.setattr(two_stage, "encode_sound", encode_recorded)
    patch.setattr(two_stage, "connect", connect_recorded)
    patch.setattr(two_stage, "upsample", upsample_recorded)
