"""A sound without a picture: prompt -> one guided stage of the transformer's sound layers -> waveform.

`sound_stage` says what is sampled, `sample_stage` does it, and `generate_sound` tells the story for components that are
loaded.  Equals the vendor's text-to-audio pipeline (t2a_one_stage): its audio-only model, to which a picture does not
exist, guided by the negative prompt and the perturbed pass as the sound of a film is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .components import SoundComponents
from .errors import CheckpointError, VariantError
from .execution.graphs import BlockGraphs
from .execution.precompile import finish_transformer
from .lora import LoRA, fused
from .lora.names import CONNECTORS, is_known
from .progress import SILENT, Reporter
from .request import check_seed, check_steps, check_steps_of_model
from .sampling.conditions import GivenVoice, Voice, encode_voice
from .sampling.euler import sample_euler
from .sampling.geometry import SoundGeometry
from .sampling.guidance import Contexts, Guidance
from .sampling.schedule import checked_sigmas
from .sampling.stage import Sampler, Stage, Start, check_reuse, sample_stage
from .stage_weights import tell_of
from .text.connector import EmbeddingsConnector
from .transformer.model import AVTransformer
from .transformer.sound_only import of_sound
from .two_stage import decode_audio, encode_prompt
from .variants import ModelVariant

_CONNECTOR = CONNECTORS[1]


@dataclass(frozen=True, eq=False)
class SoundRequest:
    """What is to be heard, for `seconds`; the model has learned up to about 20.  What is None is as the model's variant
    has it.  Of the guidance the sound's scales count, without the modality scale: there is no other modality.  `voice`
    is what an ID-LoRA reads.

    LTXError for what no model could make.
    """

    prompt: str
    seconds: float
    negative_prompt: str | None = None
    seed: int = 10
    steps: int | None = None
    guidance: Guidance | None = None
    sigmas: Tensor | None = None
    sampler: Sampler | None = None
    voice: GivenVoice | None = None

    def __post_init__(self):
        SoundGeometry.of_seconds(self.seconds)
        check_seed(self.seed)
        if self.sigmas is not None:
            object.__setattr__(self, "sigmas", checked_sigmas(self.sigmas))
        check_steps(self.steps, self.sigmas, "sigmas")

    @property
    def geometry(self) -> SoundGeometry:
        return SoundGeometry.of_seconds(self.seconds)

    def filled(self, variant: ModelVariant) -> "SoundRequest":
        """The same request with what it left to the variant; LTXError for steps that the model does not have."""
        if self.sigmas is None:
            check_steps_of_model(self.steps, variant, "sigmas")
        given = {
            "negative_prompt": variant.negative_prompt,
            "sigmas": variant.stage_one_schedule(self.steps),
            "sampler": variant.samplers(self.seed)[0],
        }
        filled = replace(self, **{name: value for name, value in given.items() if getattr(self, name) is None})
        guidance = variant.guidance_for(self.guidance)
        return replace(
            filled, guidance=guidance if self.voice is None else replace(guidance, identity=self.voice.scale)
        )


@dataclass(frozen=True, eq=False)
class SoundResult:
    """waveform (1, 2, N) float32 on the CPU at `sample_rate` Hz, and the latent (1, 8, T, 16) that it came from."""

    waveform: Tensor
    sample_rate: int
    latent: Tensor


def sound_stage(
    geometry: SoundGeometry,
    sigmas: Tensor,
    guidance: Guidance,
    *,
    voice: Voice | None = None,
    sampler: Sampler = sample_euler,
) -> Stage:
    """A sound from noise; its contexts are the audio connector's, with None for the video."""
    conditions = () if voice is None else (voice,)
    return Stage(geometry, sigmas, video=None, audio=Start(conditions=conditions), guidance=guidance, sampler=sampler)


@torch.no_grad()
def connect_sound(connector: EmbeddingsConnector, positive: Tensor, negative: Tensor | None = None) -> Contexts:
    """The sound's contexts (1, S, D) of the prompt and, if there is one, of the negative prompt from their features."""
    return Contexts(None, connector(positive), None, None if negative is None else connector(negative))


def generate_sound(
    components: SoundComponents,
    request: SoundRequest,
    *,
    loras: Sequence[tuple[LoRA, float]] = (),
    reporter: Reporter = SILENT,
) -> SoundResult:
    """Makes a sound; `loras` are laid over transformer and connector at their strengths, as far as they change sound.

    What does not fit together is an LTXError before anything is computed.
    """
    c, r = components, request.filled(components.variant)
    c.check()
    r.guidance.blocks(c.transformer.params.num_layers)
    check_reuse(r.guidance, r.sampler)
    if r.voice is not None and c.audio_encoder is None:
        raise CheckpointError(
            "The request gives a voice, but the components have no audio VAE encoder. Load them from a checkpoint that "
            f"has one, such as {c.variant.files.checkpoint}."
        )
    fitting = [(_fitted(lora, c), strength) for lora, strength in loras]
    placement = {"dtype": c.dtype, "device": c.device}
    texts = (r.prompt, r.negative_prompt) if r.guidance.audio.needs_negative else (r.prompt,)
    features = [encode_prompt(c.tokenizer, c.text_encoder, text, c.device, reporter)[1] for text in texts]
    voice = None if r.voice is None else encode_voice(c.audio_encoder, r.voice, **placement, reporter=reporter)
    stage = sound_stage(r.geometry, r.sigmas, r.guidance, voice=voice, sampler=r.sampler)
    finish_transformer(c.transformer, c.dtype, c.device)
    with fused(c.audio_connector, fitting, _CONNECTOR):
        contexts = connect_sound(c.audio_connector, *features)
    generator = torch.Generator(c.device).manual_seed(r.seed)
    with fused(c.transformer, fitting):
        latent = sample_stage(
            c.transformer, stage, contexts, generator, **placement, reporter=reporter, run_blocks=BlockGraphs(reporter)
        ).audio
    return SoundResult(
        decode_audio(c.audio_decoder, c.vocoder, latent, reporter), c.vocoder.output_sampling_rate, latent
    )


def _fitted(lora: LoRA, components: SoundComponents) -> LoRA:
    """The LoRA with its layers of the sound, of what fits; VariantError if it has none."""
    whole = AVTransformer(components.transformer.params, device="meta")
    shapes = {name: weight.shape for name, weight in whole.named_parameters()}
    shapes |= {_CONNECTOR + name: weight.shape for name, weight in components.audio_connector.named_parameters()}
    lora = lora.only([name for name in lora.layers if not (is_known(name) and _of_video(name))])
    if not lora.layers:
        raise VariantError(f"{lora.path} changes no layer of the sound: take it out, or choose a LoRA for sound.")
    fitted = lora.fitted(shapes)
    tell_of(fitted, components.variant)
    return fitted


def _of_video(layer: str) -> bool:
    return not (layer.startswith(_CONNECTOR) or of_sound(layer))
