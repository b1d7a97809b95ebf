"""One record for each generation and kind of model: everything that depends on the model reads it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..generation import Generation
from ..sampling.guidance import LTX_2_0_DEV, LTX_2_3_DEV, OFF, STG_DEPTH, Guidance
from ..sampling.samplers import named_sampler
from ..sampling.schedule import DISTILLED_STAGE_ONE, STAGE_TWO, ltx2_sigmas
from ..sampling.stage import Sampler
from ..text.negative_prompt import NEGATIVE_PROMPT
from .kind import Kind


@dataclass(frozen=True)
class PublishedFiles:
    """What the publisher calls the files that belong together; `lora` None where the model needs none.

    The VAEs and the duration head are None where they lie in the checkpoint, or where there is none.
    """

    checkpoint: str
    lora: str | None
    upsampler: str
    text_encoder: str
    video_vae: str | None = None
    diffusion_vae: str | None = None
    audio_vae: str | None = None
    duration_head: str | None = None


@dataclass(frozen=True)
class ModelVariant:
    """The vendor's recipe for a model.

    guidance: of stage one; stage two has none.  fixed_sigmas: stage one's noise levels whatever the number of steps, or
    None for the schedule that follows the steps.  sampler, stage_two_sampler: names, see `named_sampler`.  image_crf:
    H.264 quality of the images that the model learned with.  stage_one_sound: whether stage one's sound is kept, or
    refined in stage two.  stg_depth: see `Guidance`.
    gemma: which generation of Gemma reads the prompts.
    """

    generation: Generation
    kind: Kind
    guidance: Guidance
    fixed_sigmas: tuple[float, ...] | None
    files: PublishedFiles
    steps: int = 30
    stage_two_sigmas: tuple[float, ...] = STAGE_TWO
    sampler: str = "euler"
    stage_two_sampler: str = "euler"
    image_crf: int = 33
    stage_one_sound: bool = True
    negative_prompt: str = NEGATIVE_PROMPT
    stg_depth: tuple[int, int] = STG_DEPTH
    gemma: int = 3

    def guidance_for(self, asked: Guidance | None) -> Guidance:
        """What was asked for, with the block that suits this model where it names none; None: the recipe's own."""
        if asked is None:
            return self.guidance
        return replace(asked, stg_depth=self.stg_depth) if asked.leaves_block_open else asked

    def samplers(self, seed: int, noise_device: torch.device | str | None = None) -> tuple[Sampler, Sampler]:
        """Of both stages of the run that `seed` began; see `named_sampler`."""
        return tuple(named_sampler(name, seed, noise_device) for name in (self.sampler, self.stage_two_sampler))

    def stage_one_schedule(self, steps: int | None = None) -> Tensor:
        """Noise levels (steps + 1,) of stage one; `steps` None: as many as the recipe has."""
        if self.fixed_sigmas is not None:
            return torch.tensor(self.fixed_sigmas)
        return ltx2_sigmas(self.steps if steps is None else steps)

    def stage_two_schedule(self) -> Tensor:
        """Noise levels of stage two."""
        return torch.tensor(self.stage_two_sigmas)


def _distilled(dev: ModelVariant, checkpoint: str) -> ModelVariant:
    """The distilled model beside a dev one: fixed steps, no guidance, no LoRA, and the sound of stage two."""
    return replace(
        dev,
        kind=Kind.DISTILLED,
        guidance=OFF,
        fixed_sigmas=DISTILLED_STAGE_ONE,
        steps=len(DISTILLED_STAGE_ONE) - 1,
        files=replace(dev.files, checkpoint=checkpoint, lora=None),
        stage_one_sound=False,
    )


_GEMMA_3 = "gemma-3-12b-it-qat-q4_0-unquantized"

_LTX_2_3 = ModelVariant(
    Generation.V2_3,
    Kind.DEV,
    LTX_2_3_DEV,
    fixed_sigmas=None,
    files=PublishedFiles(
        checkpoint="ltx-2.3-22b-dev.safetensors",
        lora="ltx-2.3-22b-distilled-lora-384-1.1.safetensors",
        upsampler="ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
        text_encoder=_GEMMA_3,
    ),
)
_LTX_2_0 = replace(
    _LTX_2_3,
    generation=Generation.V2_0,
    guidance=LTX_2_0_DEV,
    stg_depth=LTX_2_0_DEV.stg_depth,
    steps=40,
    files=PublishedFiles(
        checkpoint="ltx-2-19b-dev.safetensors",
        lora="ltx-2-19b-distilled-lora-384.safetensors",
        upsampler="ltx-2-spatial-upscaler-x2-1.0.safetensors",
        text_encoder=_GEMMA_3,
    ),
)

_LTX_2_5 = replace(
    _LTX_2_3,
    generation=Generation.V2_5,
    image_crf=18,
    gemma=4,
    files=PublishedFiles(
        checkpoint="ltx-2.5-22b-dev-transformer-bf16.safetensors",
        lora="ltx-2.5-22b-distilled-lora-450-bf16.safetensors",
        upsampler="ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors",
        text_encoder="gemma4-12b-with-proj-ltx-2.5-bf16.safetensors",
        video_vae="ltx-2.5-video-vae-conv-bf16.safetensors",
        diffusion_vae="ltx-2.5-video-vae-bf16.safetensors",
        audio_vae="ltx-2.5-audio-vae-bf16.safetensors",
        duration_head="ltx-2.5-duration-head-bf16.safetensors",
    ),
)
# Stage two of the distilled model has too few steps to remove fresh noise.
_LTX_2_5_DISTILLED = replace(
    _distilled(_LTX_2_5, "ltx-2.5-22b-distilled-transformer-bf16.safetensors"), sampler="euler_ancestral"
)

MODEL_VARIANTS = {
    (record.generation, record.kind): record
    for record in (
        _LTX_2_5,
        _LTX_2_5_DISTILLED,
        _LTX_2_3,
        _distilled(_LTX_2_3, "ltx-2.3-22b-distilled.safetensors"),
        _LTX_2_0,
        _distilled(_LTX_2_0, "ltx-2-19b-distilled.safetensors"),
    )
}


# The generations that are run, the newest first, and what messages call them.
RUN = tuple(dict.fromkeys(generation for generation, _ in MODEL_VARIANTS))
RUN_NAMES = " and ".join((", ".join(map(str, RUN[:-1])), str(RUN[-1])))


def is_run(generation: Generation | None) -> bool:
    """Whether a file of that generation can be used, as far as that tells; files that tell none are good."""
    return generation is None or generation in RUN


def variant_of(kind: Kind, generation: Generation | None = None) -> ModelVariant:
    """The record of a model; a file that does not say its generation, or has one without a record, counts as 2.3."""
    return MODEL_VARIANTS.get((generation, kind), MODEL_VARIANTS[Generation.V2_3, kind])
