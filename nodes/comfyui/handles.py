"""What the loader nodes hand out: opened files whose weights are read at first use, and kept for the next one.

A handle keeps the components that it built; ComfyUI keeps the handle in its cache and moves the weights as it likes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from ...ltx_core import two_stage
from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.generation import Generation, stated_version
from ...ltx_core.loading import gemma_params, load_tokenizer, lora_shapes
from ...ltx_core.lora import (
    LoRA,
    ReferenceFactors,
    StreamStrengths,
    Strengths,
    common_factors,
    reference_factors,
)
from ...ltx_core.lora.names import CONNECTORS as CONNECTOR_NAMES
from ...ltx_core.sampling.guidance import Contexts
from ...ltx_core.sound_only import connect_sound
from ...ltx_core.text.gemma4_params import Gemma4Params
from ...ltx_core.text.gemma_params import GemmaParams
from ...ltx_core.text.tokenizer import GemmaTokenizer
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.transformer.sound_only import of_sound
from ...ltx_core.upsampler.params import UpsamplerParams
from ...ltx_core.usable import Use, check_part, video_use
from ...ltx_core.variants import Kind, ModelVariant, variant_of
from ...ltx_core.video_vae.statistics import PerChannelStatistics
from . import conditioning, gpus
from .attention import chosen_flag
from .components import (
    CONNECTORS,
    SOUND_CONNECTOR,
    Part,
    build_model,
    build_sound_transformer,
    build_text_encoder,
    build_vae_part,
)
from .encoded import EncodedTexts
from .memory import PatchedModule, check_finite, release
from .stage_loras import with_stage_loras

SOUND_CONNECTOR_NAME = CONNECTOR_NAMES[1]

TextFeatures = tuple[Tensor, Tensor, bool]


@dataclass(eq=False)
class Built:
    """Components by name, each built when it is first asked for."""

    parts: dict[str, PatchedModule] = field(default_factory=dict)

    def get(self, name: str, build: Callable[[], PatchedModule]) -> PatchedModule:
        if name not in self.parts:
            self.parts[name] = build()
        return self.parts[name]


class Handle:
    """What ComfyUI's caches ask an output for."""

    built: Built

    def is_dynamic(self) -> bool:
        """Whether all that it holds can be dropped and read again cheaply."""
        return all(component.is_dynamic() for component in self.built.parts.values())

    def get_models(self) -> list:
        return [component.patcher for component in self.built.parts.values()]


@dataclass(frozen=True)
class LoraUse:
    """A LoRA, fitted to the model, with its strength in stage one and in stage two, and the factors on both."""

    lora: LoRA
    strengths: tuple[float, float]
    streams: StreamStrengths = StreamStrengths()

    def of_stage(self, number: int) -> Strengths:
        return Strengths(self.strengths[number - 1], self.streams)


class SampledModel(Handle):
    """What both stages ask of a model, whoever loaded it."""

    loras: tuple[LoraUse, ...]
    transformer_params: TransformerParams
    generation: Generation | None
    note_on_sound: str | None = None  # what there is to say of `sound`
    latents_of: str | None = None  # the version that the file states, by which a decoder for previews is found

    def active_loras(self, number: int) -> list[tuple[LoRA, Strengths]]:
        """The LoRAs that act in stage 1 or 2, with their strengths there."""
        uses = [(use.lora, use.of_stage(number)) for use in self.loras]
        return [(lora, strengths) for lora, strengths in uses if strengths.largest != 0]

    @property
    def attention_name(self) -> str | None:
        """What computes attention in place of PyTorch, for messages; None where nothing does."""
        return chosen_flag()

    def reference_factors(self) -> ReferenceFactors:
        """How small and slow the LoRAs' reference is; LTXError where they do not agree, or a file says nonsense."""
        return common_factors(self._named_factors())

    def _named_factors(self) -> Iterator[tuple[str, ReferenceFactors]]:
        return ((use.lora.path.name, reference_factors(use.lora)) for use in self.loras if any(use.strengths))

    def may_read_references(self, number: int) -> bool:
        """Whether a LoRA that acts in this stage may be an IC-LoRA."""
        return any(lora.reference is not None for lora, _ in self.active_loras(number))

    def loras_before_connectors(
        self, features: tuple[TextFeatures | None, ...], number: int, connectors: tuple[str, ...] = CONNECTOR_NAMES
    ) -> list[str]:
        """The files of LoRAs that change `connectors`, by the beginnings of their layers' names, in this stage, though
        no features go through them."""
        if any(unprocessed for *_, unprocessed in filter(None, features)):
            return []
        return [
            lora.path.name
            for lora, strengths in self.active_loras(number)
            if any(name.startswith(connectors) and strengths.of(name) for name in lora.layers)
        ]

    def loras_without_sound(self) -> list[str]:
        """The files of LoRAs of stage 1 that change nothing of a sound without a picture."""

        def sounds(name: str) -> bool:
            return of_sound(name) or name.startswith(SOUND_CONNECTOR_NAME)

        return [
            lora.path.name
            for lora, strengths in self.active_loras(1)
            if not any(strengths.of(name) for name in filter(sounds, lora.layers))
        ]

    def stage(self, number: int, steps: int | None = None) -> PatchedModule:
        """The transformer with the LoRAs of stage 1 or 2, for so many steps (None: not known)."""
        raise NotImplementedError

    def further(self, number: int, steps: int | None = None) -> Mapping[torch.device, Callable[[], PatchedModule]]:
        """By further GPUs that are to share the work of stage 1 or 2: what gives the transformer as `stage` does."""
        raise NotImplementedError

    def with_gpus(self, count: int) -> "SampledModel":
        """The same model, whose stages up to `count` GPUs share; LTXError where its loader cannot read it again."""
        raise NotImplementedError

    def sound(self) -> PatchedModule:
        """The transformer for a sound without a picture, with the LoRAs of stage 1: as a rule its layers of sound
        alone."""
        raise NotImplementedError

    def features(self, text: list) -> TextFeatures:
        """Video and audio features of a CONDITIONING, checked against this model's widths."""
        return conditioning.take(text, self.transformer_params, self.generation)

    def connectors(self, component: PatchedModule, number: int, sound_alone: bool = False) -> PatchedModule:
        """The text connectors, or the sound's, beside the `component` of stage 1 or 2, which itself may hold them."""
        raise NotImplementedError

    def contexts(
        self,
        features: tuple[TextFeatures, TextFeatures | None],
        component: PatchedModule,
        room: float,
        number: int,
        sound_alone: bool = False,
    ) -> Contexts:
        """Contexts of positive and negative features for the `component` of stage 1 or 2, through the connectors; with
        `sound_alone` None for the picture.

        Connectors are not loaded when all features have been through them, and leave the device again.  `room`: bytes
        that the stage will want beside its weights.
        """
        given = [feature for feature in features if feature is not None]
        connectors = None
        if any(unprocessed for *_, unprocessed in given):
            connectors = self.connectors(component, number, sound_alone)
            module = connectors.load(room if connectors is component else 0)
        result = []
        for video, audio, unprocessed in given:
            place = component.device, component.compute_dtype
            pair = None if sound_alone else video.to(*place), audio.to(*place)
            if unprocessed:
                pair = _connected(module, pair, sound_alone)
            result.extend(pair)
        for text in filter(lambda text: text is not None, result):
            check_finite(text, "text context", *([connectors] if connectors else []))
        if connectors not in (None, component):
            release(connectors)
        return Contexts(*result)


def _connected(module: nn.Module, pair: tuple[Tensor | None, Tensor], sound_alone: bool) -> tuple:
    if sound_alone:
        return None, connect_sound(module.audio_connector, pair[1]).audio
    connected = two_stage.connect(module.video_connector, module.audio_connector, pair)
    return connected.video, connected.audio


@dataclass(frozen=True, eq=False)
class ModelHandle(SampledModel):
    """LTXDUO_MODEL.  Handles that differ only in LoRAs share the base weights."""

    checkpoint: Checkpoint
    weight_dtype: str
    kind: Kind
    connectors_file: Checkpoint  # often the same one
    loras: tuple[LoraUse, ...] = ()
    built: Built = field(default_factory=Built)
    patched: Built = field(default_factory=Built)
    gpus: int = 1

    @property
    def name(self) -> str:
        """For messages."""
        return self.checkpoint.path.name

    @cached_property
    def transformer_params(self) -> TransformerParams:
        return TransformerParams.from_config(self.checkpoint.config)

    @property
    def generation(self) -> Generation | None:
        return self.checkpoint.generation

    @property
    def latents_of(self) -> str | None:
        return stated_version(self.checkpoint.metadata)

    @property
    def variant(self) -> ModelVariant:
        """What the model calls for where the user says nothing."""
        return variant_of(self.kind, self.generation)

    def weight_shapes(self) -> Mapping[str, Sequence[int]]:
        """Of all parameters that LoRAs may change, by name."""
        return lora_shapes(self.checkpoint, self.connectors_file)

    def with_lora(self, use: LoraUse) -> "ModelHandle":
        return replace(self, loras=(*self.loras, use), patched=Built())

    def stage(self, number: int, steps: int | None = None) -> PatchedModule:
        """Stages with the same LoRAs share a component."""
        self.checkpoint.check_not_written_over()
        base = self.built.get("model", lambda: build_model(self.checkpoint, self.weight_dtype))
        return self._with_loras("model", base, number, steps=steps)

    def with_gpus(self, count: int) -> "ModelHandle":
        return replace(self, gpus=count)

    def further(self, number: int, steps: int | None = None) -> Mapping[torch.device, Callable[[], PatchedModule]]:
        return {device: partial(self._replica, device, number, steps) for device in gpus.further(self.gpus)}

    def _replica(self, device: torch.device, number: int, steps: int | None) -> PatchedModule:
        name = f"model on {device}"
        base = self.built.get(name, lambda: build_model(self.checkpoint, self.weight_dtype, device=device))
        return self._with_loras(name, base, number, steps=steps)

    def sound(self) -> PatchedModule:
        self.checkpoint.check_not_written_over()
        base = self.built.get("sound", lambda: build_sound_transformer(self.checkpoint, self.weight_dtype))
        return self._with_loras("sound", base, 1, of_sound)

    def _with_loras(
        self, name: str, base: PatchedModule, number: int, wanted=bool, steps: int | None = None
    ) -> PatchedModule:
        """`base` with the LoRAs' layers that are `wanted` by their names."""
        active, others = self.active_loras(number), self.active_loras(3 - number)
        return with_stage_loras(name, base, active, others, wanted, steps, self.patched.get)

    def connectors(self, component: PatchedModule, number: int, sound_alone: bool = False) -> PatchedModule:
        """Under a patcher of their own."""
        self.connectors_file.check_not_written_over()
        name, parts = ("sound connector", SOUND_CONNECTOR) if sound_alone else ("connectors", CONNECTORS)
        build = partial(build_model, self.connectors_file, self.weight_dtype, parts)
        return self._with_loras(name, self.built.get(name, build), number)


@dataclass(frozen=True, eq=False)
class VAEHandle(Handle):
    """LTXDUO_VAE: the files with the video VAE, the audio VAE and the vocoder, often the same one."""

    video: Checkpoint
    audio: Checkpoint
    vocoder_file: Checkpoint
    built: Built = field(default_factory=Built)

    note = None  # what there is to say of the dtype its loader has said; of ComfyUI's own VAE the nodes say it

    @property
    def generation(self) -> Generation | None:
        """One for all its files."""
        return next((file.generation for file in (self.video, self.audio, self.vocoder_file) if file.generation), None)

    def video_encoder(self) -> PatchedModule:
        return self._part(Part.VIDEO_ENCODER, self.video)

    @property
    def by_diffusion(self) -> bool:
        """Whether pictures are decoded by diffusion: see `video_use`."""
        return video_use(self.video) is Use.DIFFUSION

    def video_decoder(self) -> PatchedModule:
        return self._part(self._decoder, self.video)

    def audio_encoder(self) -> PatchedModule:
        """CheckpointError where the audio file has none, or one that does not fit its config."""
        check_part(self.audio, Part.AUDIO_ENCODER)
        return self._part(Part.AUDIO_ENCODER, self.audio, torch.float32)

    def audio_decoder(self) -> PatchedModule:
        return self._part(Part.AUDIO_DECODER, self.audio, torch.float32)

    def vocoder(self) -> PatchedModule:
        return self._part(Part.VOCODER, self.vocoder_file, torch.float32)

    def statistics(self) -> PerChannelStatistics:
        """Means and deviations of the video latent's channels, read by themselves."""
        keys = {
            key: name.removeprefix("per_channel_statistics.")
            for key, name in self.video.key_maps[self._decoder].items()
            if name.startswith("per_channel_statistics.")
        }
        tensors = {
            keys[key]: tensor
            for file in self.video.files
            for key, tensor in file.read(key for key in keys if key in file.tensors).items()
        }
        statistics = PerChannelStatistics(next(iter(tensors.values())).numel())
        statistics.load_state_dict(tensors)
        return statistics

    @property
    def _decoder(self) -> Part:
        return Part.DIFFUSION_DECODER if self.by_diffusion else Part.VIDEO_DECODER

    def _part(self, part: Part, checkpoint: Checkpoint, compute_dtype: torch.dtype | None = None) -> PatchedModule:
        checkpoint.check_not_written_over()
        return self.built.get(part.name, lambda: build_vae_part(part, checkpoint, compute_dtype))


@dataclass(frozen=True, eq=False)
class TextEncoderHandle(Handle):
    """LTXDUO_TEXT_ENCODER: Gemma and the file with the text projection."""

    gemma: Checkpoint
    projection: Checkpoint
    device: str
    built: Built = field(default_factory=Built)
    encoded: EncodedTexts = field(default_factory=EncodedTexts)

    def component(self) -> PatchedModule:
        self.gemma.check_not_written_over()
        self.projection.check_not_written_over()
        return self.built.get("text", lambda: build_text_encoder(self.gemma, self.projection, self.device))

    @cached_property
    def params(self) -> GemmaParams | Gemma4Params:
        return gemma_params(self.gemma)

    @cached_property
    def tokenizer(self) -> GemmaTokenizer:
        return load_tokenizer(self.gemma)


@dataclass(frozen=True, eq=False)
class UpsamplerHandle(Handle):
    """LTXDUO_UPSAMPLER."""

    checkpoint: Checkpoint
    params: UpsamplerParams
    built: Built = field(default_factory=Built)

    note = None  # as a VAEHandle's

    def component(self) -> PatchedModule:
        self.checkpoint.check_not_written_over()
        return self.built.get("upsampler", lambda: build_vae_part(Part.UPSAMPLER, self.checkpoint))
