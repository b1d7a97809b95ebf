"""What a whole run is asked for and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from .errors import ConditioningError, LTXError
from .lora import LoRA
from .sampling.conditions import GivenFilm, GivenImage, GivenReference, GivenSound, GivenVoice
from .sampling.conditions.fitting import resolve_frames
from .sampling.conditions.generated_keyframes import resolved_keyframes
from .sampling.geometry import LatentGeometry, check_two_stage
from .sampling.guidance import Guidance
from .sampling.schedule import begins_with_noise, checked_sigmas
from .sampling.stage import AVLatent, Sampler
from .variants import ModelVariant
from .video_vae.tiling import Tiling


@dataclass(frozen=True, eq=False)
class StagedLoRA:
    """A LoRA with its strength in each stage; 0 leaves a stage as it is.  The distilled LoRA: 0 and 1."""

    lora: LoRA
    stage_one: float
    stage_two: float


def check_voice_beside(sound: GivenSound | None, film: GivenFilm | None) -> None:
    """ConditioningError for a reference voice where no sound is made."""
    if sound is not None or (film is not None and not film.new_sound):
        raise ConditioningError(
            "A reference voice is given, and the film keeps the sound that it is given, in which the voice changes "
            "nothing: take the voice out, or have the sound made."
        )


def check_seed(seed: int) -> None:
    """LTXError unless generators take the seed."""
    if not 0 <= seed < 2**64:
        raise LTXError(f"seed is {seed}, expected a whole number from 0 to 2**64 - 1.")


def check_steps(steps: int | None, sigmas: Tensor | None, name: str) -> None:
    """LTXError for less than a step, or for another number than the `sigmas`, which are called `name`, make."""
    if steps is not None and steps < 1:
        raise LTXError(f"steps is {steps}, expected at least 1: use 30 for a dev model.")
    if steps is not None and sigmas is not None and len(sigmas) != steps + 1:
        raise LTXError(
            f"steps is {steps}, but the {len(sigmas)} {name} make {len(sigmas) - 1} steps. Leave one of them out."
        )


def check_steps_of_model(steps: int | None, variant: ModelVariant, name: str) -> None:
    """LTXError for other steps than the fixed ones of a model, where no sigmas, called `name`, are given."""
    if variant.fixed_sigmas is not None and steps not in (None, variant.steps):
        raise LTXError(
            f"steps is {steps}, but a {variant.kind} model has its own {variant.steps}. Leave steps out, or give "
            f"{name}."
        )


@dataclass(frozen=True, eq=False)
class Request:
    """What to make: `geometry` is the final one, at which stage one works where it is the only one (`one_stage`).  What
    is None is as the model's variant has it; without `tiling` the video is decoded whole.  With a `sound` the video is
    made to it, and the film has that sound as it is given.  Of a `film` that part is made anew which it says, and the
    rest comes out as it is given.  `sampler` also samples a stage two that has none of its own.  `references` are what
    an IC-LoRA reads, `voice` what an ID-LoRA does.  `video_decoder` None: the convolutional one where it is loaded.
    `generated_keyframes`: pixel frames that LTX-2.5 makes once more by themselves in stage one, which sharpens motion
    there; each costs as much as eight frames.

    LTXError for what no model could make.
    """

    prompt: str
    geometry: LatentGeometry
    negative_prompt: str | None = None
    seed: int = 10
    images: Sequence[GivenImage] = ()
    steps: int | None = None
    guidance: Guidance | None = None
    stage_one_sigmas: Tensor | None = None
    stage_two_sigmas: Tensor | None = None
    sampler: Sampler | None = None
    stage_two_sampler: Sampler | None = None
    tiling: Tiling | None = None
    stage_one_sound: bool | None = None
    sound: GivenSound | None = None
    film: GivenFilm | None = None
    one_stage: bool = False
    references: Sequence[GivenReference] = ()
    voice: GivenVoice | None = None
    video_decoder: Literal["conv", "diffusion"] | None = None
    generated_keyframes: Sequence[int] = ()

    def __post_init__(self):
        g = self.geometry
        if not self.one_stage:
            check_two_stage(g.width, g.height, g.frames, g.fps)
        elif self.stage_two_sigmas is not None or self.stage_two_sampler or self.stage_one_sound is False:
            raise LTXError(
                "The request asks for one stage, but also for stage two's sigmas, sampler or sound. Leave "
                "stage_two_sigmas, stage_two_sampler and stage_one_sound out, or one_stage."
            )
        if self.video_decoder not in (None, "conv", "diffusion"):
            raise LTXError(f"video_decoder is {self.video_decoder!r}, expected 'conv', 'diffusion' or None.")
        resolve_frames([given.frame for given in self.images], g.frames)
        resolved_keyframes(self.generated_keyframes, g.frames)
        if self.sound is not None:
            self.sound.check(g.frames, g.fps)
        if self.film is not None:
            self.film.check(g.frames, g.fps)
        check_seed(self.seed)
        for name in ("stage_one_sigmas", "stage_two_sigmas"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_sigmas(getattr(self, name)))
        sigmas = self.stage_one_sigmas
        check_steps(self.steps, sigmas, "stage_one_sigmas")
        if self.film is not None:
            from_noise = sigmas is None or begins_with_noise(sigmas)
            shown = bool(self.images or self.references or self.generated_keyframes)
            self.film.check_beside(from_noise, images=shown, sound=self.sound is not None)
        if self.voice is not None:
            check_voice_beside(self.sound, self.film)

    def filled(self, variant: ModelVariant) -> "Request":
        """The same request with what it left to the variant; LTXError for steps that the model does not have."""
        if self.stage_one_sigmas is None:
            check_steps_of_model(self.steps, variant, "stage_one_sigmas")
        one, two = variant.samplers(self.seed)
        given = {
            "negative_prompt": variant.negative_prompt,
            "guidance": variant.guidance,
            "stage_one_sigmas": variant.stage_one_schedule(self.steps),
            "stage_two_sigmas": None if self.one_stage else variant.stage_two_schedule(),
            "sampler": one,
            "stage_two_sampler": None if self.one_stage else self.sampler or two,
            "stage_one_sound": variant.stage_one_sound or self.one_stage,
        }
        filled = replace(self, **{name: value for name, value in given.items() if getattr(self, name) is None})
        return replace(filled, guidance=variant.guidance_for(filled.guidance))


@dataclass(frozen=True, eq=False)
class Result:
    """frames (F, H, W, 3) float32 in 0..1 at `fps`; waveform (1, 2, N) float32 at `sample_rate` Hz; both on the CPU.

    With the latents that they came from; stage two's is None without one.  A sound that was given has its own rate, and
    may be mono: (1, 1, N).  None for a silent film of which only the picture is made anew.
    """

    frames: Tensor
    fps: float
    waveform: Tensor | None
    sample_rate: int | None
    stage_one: AVLatent
    stage_two: AVLatent | None
