"""One stage under ComfyUI's memory manager: encodes what is given, connects texts, loads the transformer, samples."""

import math
from collections.abc import Sequence
from functools import partial

import torch

from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.capture import CudaRecorder
from ...ltx_core.execution.graphs import BlockGraphs
from ...ltx_core.execution.precompile import finish_transformer
from ...ltx_core.execution.several_gpus import PiecewiseTeam
from ...ltx_core.execution.splitting import Pieces, PiecewiseModel
from ...ltx_core.lora import LoRA, ReferenceFactors, Strengths
from ...ltx_core.progress import Reporter
from ...ltx_core.sampling.conditions import (
    Condition,
    GivenFilm,
    GivenVoice,
    Kept,
    Reference,
    Voice,
    encode_film,
    encode_film_sound,
    encode_images,
    encode_reference,
    encode_sound,
    encode_voice,
)
from ...ltx_core.sampling.conditions.fitting import resolve_frames
from ...ltx_core.sampling.conditions.reference_film import reference_size
from ...ltx_core.sampling.geometry import AUDIO_LATENTS_PER_SECOND, LatentGeometry
from ...ltx_core.sampling.guidance import Contexts, Guidance, for_made_streams, passes
from ...ltx_core.sampling.stage import AVLatent, Stage, Start, sample_stage
from ...ltx_core.video_vae.encoding_tiles import largest_tile
from ...ltx_core.video_vae.params import PIXEL_CHANNELS
from .. import images, references
from ..given import NOTHING, Given, ShownReference
from ..preflight.possible import check_stage
from . import not_finite, several_gpus
from .attention import installed_name
from .core_vae import AudioVAE, VideoVAE
from .fitting import total_memory, with_more_room
from .generations import check_together
from .handles import SampledModel
from .held import HeldWeights
from .memory import PatchedModule, broken_weights, check_finite
from .progress import READING, NodeProgress
from .report import NodeReport
from .tiles import automatic, first_that_fits

ENCODING, WATCHING, HEARING, SAMPLING = "encoding images", "encoding the film", "encoding the sound", "sampling"
REFERRING, LISTENING = "encoding the reference", "encoding the voice"


class StageRun:
    """A run of stage 1 or 2.  What cannot work is refused here, before anything is loaded.

    `film`: what is made anew of it, if one is given; `from_noise`: whether that begins from noise.  `keeps`: whether
    the stage's latent brings a picture, or a sound, that stays as a whole; what is `given` so does anyway.
    """

    def __init__(
        self,
        model: SampledModel,
        number: int,
        geometry: LatentGeometry,
        given: Given | None,
        guidance: Guidance,
        features: tuple,
        film: GivenFilm | None = None,
        keeps: tuple[bool, bool] = (False, False),
        from_noise: bool = True,
    ):
        self.model, self.number, self.geometry, self.features = model, number, geometry, features
        self.name = f"stage {('one', 'two')[number - 1]}"
        check_stage(self.name.capitalize(), geometry, model.transformer_params, total_memory())
        given = given or NOTHING
        resolve_frames([image.frame for image in given.images], geometry.frames)
        # At strength 0 an image would still add tokens of its own, where it is not the first frame.
        self.images = tuple(image for image in given.images if image.strength > 0)
        self.film, self.sound, self.sound_vae = film, given.sound, given.sound_vae
        if self.sound is not None:
            self.sound.check(geometry.frames, geometry.fps)
        if self.sound_vae is not None:
            check_together(model=model.generation, audio_vae=self.sound_vae.generation)
        if film is not None:
            film.check(geometry.frames, geometry.fps)
        # Counted here so that blocks or prompts that guidance lacks are found before anything is loaded.
        positive, negative = features
        texts = Contexts(*positive[:2], *(negative[:2] if negative else ()))
        guided = for_made_streams(
            guidance,
            texts,
            video_given=keeps[0] or (film is not None and not film.new_picture),
            audio_given=keeps[1] or self.sound is not None or (film is not None and not film.new_sound),
        )
        self.passes = len(passes(*guided, model.transformer_params.num_layers))
        # What has no voice is an evaluation of its own.
        self.evaluated = self.passes + (guided[0].identity != 0)
        self.references = tuple(own for own in given.references if number == 1 or own.given.stage_two)
        self.voice = given.voice
        self.factors = [self._factors_of(own) for own in self.references]
        self.gives_sound = self.sound is not None or (film is not None and film.gives_sound(from_noise))
        watching = {} if film is None else {WATCHING: 2}
        referring = {REFERRING: 2} if self.references else {}
        hearing = {HEARING: 0.5} if self.gives_sound else {}
        listening = {} if self.voice is None else {LISTENING: 0.5}
        before = watching | referring | hearing | listening
        self.progress = NodeProgress({ENCODING: 1, **before, READING: 2, SAMPLING: 40}, model.latents_of)

    def _factors_of(self, shown: ShownReference) -> ReferenceFactors:
        """LTXError where LoRAs do not agree, or the stage's size does not divide."""
        if shown.downscale_factor is None:
            factors = self.model.reference_factors()
        else:
            factors = ReferenceFactors(shown.downscale_factor)
        reference_size(self.geometry, factors.size)
        return factors

    def encode_images(self, vae: VideoVAE, report: NodeReport | None = None) -> tuple[Condition, ...]:
        """The images as conditions of this stage's size; the VAE loads only if there are any."""
        if not self.images:
            return ()
        report = report or NodeReport()
        report.warn(vae.note)
        for remark in images.remarks(self.images, self.geometry):
            report.warn(remark)
        reporter = self.progress.phase(ENCODING)
        component = vae.video_encoder()
        placement = {"dtype": component.compute_dtype, "device": component.device}
        need = memory_estimates.video_encoder(
            component.module.params, 1, self.geometry.height, self.geometry.width, component.compute_dtype.itemsize
        )
        component.load(need)
        crf = self.model.variant.image_crf

        def encode():
            return encode_images(component.module, self.images, self.geometry, crf, **placement, reporter=reporter)

        conditions = with_more_room(encode, [component], need, "encoding the images")
        for condition in conditions:
            check_finite(condition.latent, "encoded image", component)
        return conditions

    def encode_film(self, vae: VideoVAE, report: NodeReport) -> Kept | None:
        """What stays of the given film's picture, at this stage's size; None without a film."""
        if self.film is None:
            return None
        report.warn(vae.note)
        reporter = self.progress.phase(WATCHING)
        component = vae.video_encoder()
        placement = {"dtype": component.compute_dtype, "device": component.device}
        shape = (1, PIXEL_CHANNELS, self.film.used, self.geometry.height, self.geometry.width)

        def need(tiling) -> float:
            tile = largest_tile(shape, tiling)
            return memory_estimates.video_encoder(component.module.params, *tile, component.compute_dtype.itemsize)

        def encode(tiling) -> Kept:
            return encode_film(
                component.module, self.film, self.geometry, **placement, tiling=tiling, reporter=reporter
            )

        ways = automatic(self.film.used, self.geometry.height, self.geometry.width)
        kept = first_that_fits(component, ways, need, encode, "encoding the film")
        check_finite(kept.latent, "encoded film", component)
        return kept

    def encode_references(self, vae: VideoVAE, report: NodeReport) -> tuple[Reference, ...]:
        """The references at this stage's size; says on the node what becomes of them."""
        if not self.references:
            return ()
        report.warn(vae.note)
        if not self.model.may_read_references(self.number):
            report.warn(
                f"A reference is given, and no IC-LoRA acts in {self.name}: the model alone did not learn to read it. "
                f"Put LTX LoRA Loader with an IC-LoRA before this node, with a strength in {self.name}."
            )
        reporter = self.progress.phase(REFERRING)
        component = vae.video_encoder()
        return tuple(
            self._encoded_reference(component, shown, factors, report, reporter)
            for shown, factors in zip(self.references, self.factors, strict=True)
        )

    def _encoded_reference(
        self, component, shown: ShownReference, factors: ReferenceFactors, report: NodeReport, reporter: Reporter
    ) -> Reference:
        for remark in references.remarks(shown, self.geometry, factors.time):
            report.warn(remark)
        placement = {"dtype": component.compute_dtype, "device": component.device}
        width, height = reference_size(self.geometry, factors.size)
        frames = len(shown.given.shown(self.geometry.frames, factors.time))

        def need(tiling) -> float:
            tile = largest_tile((1, PIXEL_CHANNELS, frames, height, width), tiling)
            return memory_estimates.video_encoder(component.module.params, *tile, component.compute_dtype.itemsize)

        def encode(tiling) -> Reference:
            return encode_reference(
                component.module, shown.given, self.geometry, downscale_factor=factors.size,
                temporal_factor=factors.time, **placement, tiling=tiling, reporter=reporter,
            )  # fmt: skip

        ways = automatic(frames, height, width)
        reference = first_that_fits(component, ways, need, encode, "encoding the reference")
        check_finite(reference.latent, "encoded reference", component)
        return reference

    def encode_voice(self, vae: VideoVAE) -> Voice | None:
        """The reference voice, by the VAE that came with it or else `vae`."""
        if self.voice is None:
            return None
        return encoded_voice(self.sound_vae or vae, self.voice, self.progress.phase(LISTENING))

    def encode_sound(self, vae: VideoVAE) -> Kept | None:
        """What is given of the sound, None without any; only then the VAE loads, the one that came with the sound or
        else `vae`."""
        if not self.gives_sound:
            return None
        reporter = self.progress.phase(HEARING)
        component = (self.sound_vae or vae).audio_encoder()
        placement = {"dtype": component.compute_dtype, "device": component.device}
        need = memory_estimates.audio_encoder(component.module.params, self.geometry.audio_frames)
        component.load(need)

        def encode() -> Kept:
            if self.sound is None:
                return encode_film_sound(component.module, self.film, self.geometry, **placement, reporter=reporter)
            return Kept(encode_sound(component.module, self.sound, self.geometry, **placement, reporter=reporter))

        kept = with_more_room(encode, [component], need, "encoding the sound")
        check_finite(kept.latent, "encoded sound", component)
        return kept

    def sample(self, stage: Stage, generator: torch.Generator, report: NodeReport) -> AVLatent:
        """Samples `stage` with the transformer and this stage's LoRAs; says on the node how it went."""
        reading = self.progress.phase(READING)
        steps = len(stage.sigmas) - 1
        component = self.model.stage(self.number, steps)
        for name in self.model.loras_before_connectors(self.features, self.number):
            report.warn(
                f"{name} also changes the text connectors, which this prompt has been through before: that part of it "
                "does nothing here. Encode the prompt by LTX Text Encode for all of it."
            )
        attention = self.model.attention_name
        if attention is not None and _is_biased(stage):
            report.note(
                f"The reference's weaker attention is computed by PyTorch, not by {attention}, which may leave it out"
            )
        need = self._need(component, stage)
        contexts = self.model.contexts(self.features, component, need(Pieces(self.passes)), self.number)
        geometry = stage.geometry
        what = f"{self.name} at {geometry.width}x{geometry.height}, {geometry.frames} frames"
        further = self.model.further(self.number, steps)
        with several_gpus.fitted(component, further, self.passes, need, what, report, reading) as transformer:
            made = sampled(
                transformer, component, stage, contexts, generator, report, self.progress.phase(SAMPLING),
                self.evaluated, self.model.active_loras(self.number),
            )  # fmt: skip
        if attention is None and not _is_biased(stage):
            tokens = geometry.video_tokens + appended(stage.video)
            if (name := installed_name(component.device, tokens)) is not None:
                report.note(f"Attention of the video's {tokens} tokens: {name}")
        return made

    def _need(self, component, stage: Stage):
        """Bytes of activations by the pieces that an evaluation is cut into."""
        params, geometry = self.model.transformer_params, stage.geometry
        expanding = component.expanding_bytes
        images = appended(stage.video) / geometry.frame_tokens
        heard, biased = appended(stage.audio), _is_biased(stage)

        def need(pieces: Pieces) -> float:
            return expanding + memory_estimates.transformer(
                params, geometry, pieces.together, images, component.compute_dtype.itemsize, pieces.chunks,
                component.in_fp8, extra_audio=heard, biased=biased,
            )  # fmt: skip

        return need


def encoded_voice(vae: AudioVAE, given: GivenVoice, reporter: Reporter) -> Voice:
    """A reference voice, by the sound's part of `vae`."""
    component = vae.audio_encoder()
    placement = {"dtype": component.compute_dtype, "device": component.device}
    latents = math.ceil(given.used.seconds * AUDIO_LATENTS_PER_SECOND) + 1
    need = memory_estimates.audio_encoder(component.module.params, latents)
    component.load(need)

    def encode() -> Voice:
        return encode_voice(component.module, given, **placement, reporter=reporter)

    voice = with_more_room(encode, [component], need, "encoding the voice")
    check_finite(voice.latent, "encoded voice", component)
    return voice


def sampled(
    transformer: PiecewiseModel,
    component: PatchedModule,
    stage: Stage,
    contexts: Contexts,
    generator: torch.Generator,
    report: NodeReport,
    reporter: Reporter,
    evaluated: int,
    loras: Sequence[tuple[LoRA, Strengths]],
) -> AVLatent:
    """`stage`, sampled with the loaded `component`'s transformer; says on the node how it went.

    `evaluated`: passes at each step; `loras`: the ones that act, which may be why a result is not finite.
    """
    dtype, device = component.compute_dtype, component.device
    explained = not_finite.explained(partial(broken_weights, component), component.in_fp8, loras)
    alone = stage.guidance.reused_steps(stage.sigmas) if evaluated > 1 else 0
    with HeldWeights() as holder, report.sampling(stage.sigmas, evaluated, device, alone), explained:
        finish_transformer(transformer, dtype, device)
        recorder = CudaRecorder(transformer.model.alone) if isinstance(transformer, PiecewiseTeam) else CudaRecorder()
        graphs = BlockGraphs(reporter, holder=holder, recorder=recorder)
        made = sample_stage(
            transformer, stage, contexts, generator, dtype=dtype, device=device, reporter=reporter, run_blocks=graphs
        )
        report.note_graphs(graphs.evaluations, graphs.replayed, graphs.reason)
    return made


def appended(start: Start | None) -> int:
    """Tokens that a stream's conditions add to it."""
    return 0 if start is None else sum(condition.appended_tokens for condition in start.conditions)


def _is_biased(stage: Stage) -> bool:
    """Whether a reference is looked at less than fully."""
    own = (condition for condition in stage.video.conditions if isinstance(condition, Reference))
    return any(reference.attention_weights is not None for reference in own)
