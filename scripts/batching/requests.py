"""A job as the engine's Request: the one place that knows both."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...ltx_core import GivenImage, Request
from ...ltx_core.sampling.conditions import GivenSound
from ...ltx_core.sampling.geometry import check_two_stage
from ...ltx_core.sampling.guidance import OFF, Guidance
from ...ltx_core.variants import ModelVariant
from ...ltx_core.video_vae.tiling import DEFAULT_TILING
from .faults import JobFault
from .jobs import MODALITIES, NO_GUIDANCE, SCALES, WHOLE, Job

# What the library has where a job says nothing; everything else is the model's.
DEFAULTS = {"width": 1536, "height": 1024, "frames": 121, "fps": 24.0, "seed": 10}


def request_of(job: Job, variant: ModelVariant, images: Sequence[Tensor], sound: GivenSound | None) -> Request:
    """What the engine is asked for, of a job with its size and seed; LTXError for what no model could make.

    The video is decoded in tiles unless the job says otherwise: all parts lie on one GPU together.
    """
    given = [
        GivenImage(image, said.frame, said.strength, said.crf) for image, said in zip(images, job.images, strict=True)
    ]
    return Request(
        job.prompt,
        check_two_stage(job.width, job.height, job.frames, job.fps),
        negative_prompt=job.negative_prompt,
        seed=job.seed,
        images=given,
        steps=job.steps,
        guidance=guidance_of(job, variant),
        tiling=None if job.tiling == WHOLE else DEFAULT_TILING,
        stage_one_sound=job.stage_one_sound,
        sound=sound,
    )


def guidance_of(job: Job, variant: ModelVariant) -> Guidance | None:
    """A job's guidance: its own values over the model's; None where it says nothing."""
    if job.guidance is None:
        return None
    if job.guidance == NO_GUIDANCE:
        return OFF
    said: dict[str, Any] = dict(job.guidance)
    of = {
        modality: replace(
            getattr(variant.guidance, modality),
            **{scale: said.pop(f"{modality}_{scale}") for scale in SCALES if f"{modality}_{scale}" in said},
        )
        for modality in MODALITIES
    }
    return replace(variant.guidance, **of, **said)


def check(job: Job, variant: ModelVariant, sound: GivenSound | None) -> None:
    """LTXError for what the model cannot make, JobFault for what would do nothing; reads no image."""
    black = torch.zeros(2, 2, 3)
    request = request_of(job, variant, [black] * len(job.images), sound).filled(variant)
    guidance = request.guidance
    guided = guidance.video.needs_negative or (sound is None and guidance.audio.needs_negative)
    if job.negative_prompt is not None and not guided:
        raise JobFault("negative_prompt does nothing without CFG: leave it out, or give guidance with a cfg over 1")
    if sound is not None and job.stage_one_sound is not None:
        raise JobFault("stage_one_sound does nothing: the film has the sound that is given")
    if sound is not None and isinstance(job.guidance, dict):
        audio = [key for key in job.guidance if key.startswith("audio_")]
        if audio:
            raise JobFault(f"guidance {', '.join(audio)} does nothing: the sound is given")
