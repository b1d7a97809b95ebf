"""A sound without a picture under ComfyUI's memory manager: of the transformer the sound's layers alone are loaded."""

from dataclasses import replace

import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.splitting import Pieces
from ...ltx_core.sampling.geometry import SoundGeometry
from ...ltx_core.sampling.guidance import Contexts, Guidance, passes
from ...ltx_core.sampling.schedule import checked_sigmas
from ...ltx_core.sampling.stage import Stage, check_reuse
from ...ltx_core.sound_only import sound_stage
from ..given import NOTHING, Given
from ..names import RECIPE
from ..sigmas import sound_remarks, unused_schedule
from ..sound_alone import NEEDS_VAE, check_given, long_sound
from . import core_model, latents
from .conditioning import notes_on
from .fitting import fit_transformer
from .generations import check_together
from .handles import SOUND_CONNECTOR_NAME, SampledModel
from .pipeline import noise_device_of, samplers_of, schedule_of
from .progress import READING, NodeProgress
from .report import NodeReport
from .stage_run import LISTENING, SAMPLING, appended, encoded_voice, sampled


def run_sound(
    model: object,
    positive: list,
    negative: list | None = None,
    *,
    seconds: float,
    steps: int,
    seed: int,
    noise_device: str,
    conditions: Given | None = None,
    guidance: Guidance | None = None,
    sigmas: Tensor | None = None,
    sampler: str = RECIPE,
    schedule: str = RECIPE,
    report: NodeReport | None = None,
) -> dict:
    """LATENT of a sound alone, `seconds` long.  `model` as `core_model.take` takes it.

    LoRAs act with their strengths in stage one, as far as they change sound.  What cannot work is refused before
    anything is loaded.
    """
    report = report or NodeReport()
    model, geometry = core_model.take(model, report), SoundGeometry.of_seconds(seconds)
    given = conditions or NOTHING
    check_given(given)
    if given.voice is not None:
        if given.sound_vae is None:
            raise ConditioningError(f"A reference voice is given. {NEEDS_VAE}")
        check_together(model=model.generation, audio_vae=given.sound_vae.generation)
    guidance = model.variant.guidance_for(guidance)
    if given.voice is not None:
        guidance = replace(guidance, identity=given.voice.scale)
    own = sigmas is not None
    report.warn(unused_schedule(schedule, own))
    sigmas = checked_sigmas(sigmas) if own else schedule_of(schedule, model, steps, None)
    features = model.features(positive), None if negative is None else model.features(negative)
    for remark in (
        long_sound(seconds),
        *notes_on({"positive": positive, "negative": negative}, None),
        *sound_remarks(float(sigmas[0]), float(sigmas[-1])),
        *(f"{name} changes no layer of the sound: it does nothing here." for name in model.loras_without_sound()),
    ):
        report.warn(remark)
    generator = torch.Generator(noise_device_of(noise_device)).manual_seed(seed)
    chosen = samplers_of(sampler, model, generator)[0]
    check_reuse(guidance, chosen)
    # Counted here so that blocks or prompts that guidance lacks are found before anything is loaded.
    texts = Contexts(None, features[0][1], None, None if features[1] is None else features[1][1])
    needed = len(passes(guidance, texts, model.transformer_params.num_layers, with_video=False))

    listening = {} if given.voice is None else {LISTENING: 0.5}
    progress = NodeProgress(listening | {READING: 2, SAMPLING: 40})
    voice = None
    if given.voice is not None:
        voice = encoded_voice(given.sound_vae, given.voice, progress.phase(LISTENING))
    stage = sound_stage(geometry, sigmas, guidance, voice=voice, sampler=chosen)
    made = _sampled(model, stage, features, needed, generator, progress, report)
    return latents.make_sound(made, model.generation)


def _sampled(
    model: SampledModel,
    stage: Stage,
    features: tuple,
    needed: int,
    generator: torch.Generator,
    progress: NodeProgress,
    report: NodeReport,
) -> Tensor:
    """The sound's latent (1, 8, T, 16), in `needed` passes at each step."""
    progress.phase(READING)
    component = model.sound()
    if model.note_on_sound is not None:
        report.note(model.note_on_sound)
    if model.further(1):
        report.note("A sound alone is made on one GPU")
    for name in model.loras_before_connectors(features, 1, (SOUND_CONNECTOR_NAME,)):
        report.warn(
            f"{name} also changes the sound's text connector, which this prompt has been through before: that part of "
            "it does nothing here. Encode the prompt by LTX Text Encode for all of it."
        )
    expanding, heard = component.expanding_bytes, appended(stage.audio)

    def need(pieces: Pieces) -> float:
        return expanding + memory_estimates.sound_transformer(
            model.transformer_params, stage.geometry, pieces.together, heard, component.compute_dtype.itemsize,
            pieces.chunks, component.in_fp8,
        )  # fmt: skip

    contexts = model.contexts(features, component, need(Pieces(needed)), 1, sound_alone=True)
    what = f"a sound of {stage.geometry.audio_frames} latents"
    transformer = fit_transformer(component, needed, need, what)
    evaluated = needed + (stage.guidance.identity != 0)  # what has no voice is an evaluation of its own
    return sampled(
        transformer, component, stage, contexts, generator, report, progress.phase(SAMPLING),
        evaluated, model.active_loras(1),
    ).audio  # fmt: skip
