"""LTX Duo's side: the engine as a library."""

import json
import time
from unittest import mock

import torch

from ...ltx_core import LatentGeometry, LoRA, Request, StagedLoRA, load_components, two_stage
from ...ltx_core.components import Components
from ...ltx_core.sampling.guidance import Guidance, ModalityGuidance
from ...ltx_core.video_vae.tiling import DEFAULT_TILING
from .made import FRAMES, LATENTS, SOUND, Clock, eight_bit, save
from .takes import Job, Scales, Take

SIDE = "ours"


def run(job: Job) -> None:
    begin = time.perf_counter()
    dtype = torch.float32 if job.device == "cpu" else torch.bfloat16
    files = job.files
    components = load_components(files.checkpoint, files.gemma, files.upsampler, dtype=dtype, device=job.device)
    distilled = StagedLoRA(LoRA.open(files.lora), stage_one=0.0, stage_two=1.0)
    folder = job.out / SIDE
    folder.mkdir(parents=True)
    (folder / "side.json").write_text(json.dumps({"loading": time.perf_counter() - begin}) + "\n")
    for take in job.takes:
        _make(job, take, components, distilled)


def _make(job: Job, take: Take, components: Components, distilled: StagedLoRA) -> None:
    clock = Clock(job.device)
    with mock.patch.object(two_stage, "sample_stage", clock.timed(two_stage.sample_stage)):
        result = two_stage.generate(components, _request(job, take), loras=[distilled])
    figures = clock.figures(result.sample_rate, "stage one")
    latents = result.stage_one.video, result.stage_one.audio, result.stage_two.video, result.stage_two.audio
    # The vendor's versions differ in whose sound is heard: stage two's is for comparing with those before 1.1.7.
    other = two_stage.decode_audio(components.audio_decoder, components.vocoder, result.stage_two.audio)
    tensors = dict(zip(LATENTS, latents, strict=True))
    tensors[FRAMES] = eight_bit(result.frames)
    tensors[SOUND], tensors[f"{SOUND} of stage two"] = result.waveform[0], other[0]
    save(job.out / SIDE, take.name, tensors, figures)


def _request(job: Job, take: Take) -> Request:
    return Request(
        take.text,
        LatentGeometry(job.width, job.height, job.frames, job.fps),
        negative_prompt=job.negative_prompt,
        seed=take.seed,
        steps=job.steps,
        guidance=Guidance(_scales(job.video), _scales(job.audio), stg_blocks=job.stg_blocks),
        tiling=DEFAULT_TILING if job.tiles else None,
        stage_one_sound=True,
    )


def _scales(scales: Scales) -> ModalityGuidance:
    return ModalityGuidance(cfg=scales.cfg, stg=scales.stg, modality=scales.modality, rescale=scales.rescale)
