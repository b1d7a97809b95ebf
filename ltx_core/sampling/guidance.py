"""Multi-modal guidance: which predictions to make, and how to combine them.

Up to four predictions of the clean latent: `cond`, `negative` (negative contexts), `perturbed` (self-attention bypassed
in a few blocks: spatio-temporal guidance, STG), `isolated` (no attention between audio and video).  The formula is the
vendor's MultiModalGuider.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import ConditioningError, LTXError
from ..transformer.inputs import GuidancePass


@dataclass(frozen=True)
class Contexts:
    """Connector outputs (B, S, D) of the prompt and, when guidance asks for it, of the negative prompt.

    None for a modality that is left out.
    """

    video: Tensor | None
    audio: Tensor | None = None
    negative_video: Tensor | None = None
    negative_audio: Tensor | None = None


@dataclass(frozen=True)
class ModalityGuidance:
    """Scales for one modality; the defaults guide nothing.

    cfg: away from the negative prompt (1 = off); stg: away from the perturbed prediction (0 = off); modality: away from
    the isolated prediction (1 = off); rescale: how far the result is brought back to the standard deviation of `cond`.
    """

    cfg: float = 1.0
    stg: float = 0.0
    modality: float = 1.0
    rescale: float = 0.0

    def __post_init__(self):
        if not all(math.isfinite(scale) for scale in (self.cfg, self.stg, self.modality, self.rescale)):
            raise LTXError(f"{self} holds a scale that is not a finite number.")

    @property
    def needs_negative(self) -> bool:
        return not math.isclose(self.cfg, 1.0)

    @property
    def needs_perturbed(self) -> bool:
        return not math.isclose(self.stg, 0.0)

    @property
    def needs_isolated(self) -> bool:
        return not math.isclose(self.modality, 1.0)


# Block 28 of 48: LTX-2.3's.
STG_DEPTH = (28, 48)
# Guidance is reused on short steps above this sigma: on long ones, as the last ones are and as a schedule of few steps
# has everywhere, it misses more than fewer steps do.
REUSED_ABOVE, LONGEST_REUSED = 0.5, 0.05


@dataclass(frozen=True)
class Guidance:
    """Guidance of both modalities.

    stg_blocks: which blocks the perturbed pass bypasses; None = the block `stg_depth` (block, of how many), scaled to
    the number of blocks that the model has.  stg_depth: None = that of the model's record, LTX-2.3's without one.
    skip_step: after a guided step, that many steps reuse its prediction.  identity: away from the prediction without
    the reference voice, where one is given (0 = off).  reuse: every other step computes the prompt's pass alone,
    where sigma is above 0.5 and has fallen by 0.05 at most, and takes how the others differ from the steps before
    (`reuse.carried_on`); for the Euler sampler.
    """

    video: ModalityGuidance = field(default_factory=ModalityGuidance)
    audio: ModalityGuidance = field(default_factory=ModalityGuidance)
    stg_blocks: tuple[int, ...] | None = None
    stg_depth: tuple[int, int] | None = None
    skip_step: int = 0
    identity: float = 0.0
    reuse: bool = False

    def __post_init__(self):
        if not math.isfinite(self.identity):
            raise LTXError(f"identity is {self.identity}, expected a finite number: 3 is usual, 0 is off.")
        if self.skip_step < 0:
            raise LTXError(f"skip_step is {self.skip_step}, expected 0 (guide every step) or more.")
        if self.reuse and self.skip_step:
            raise LTXError(
                f"skip_step is {self.skip_step} and guidance is reused: both say what the steps between do. Set "
                "skip_step to 0, or do not reuse guidance."
            )

    @property
    def leaves_block_open(self) -> bool:
        """Whether there is a perturbed pass of which nothing says which block it bypasses."""
        perturbed = self.video.needs_perturbed or self.audio.needs_perturbed
        return perturbed and self.stg_blocks is None and self.stg_depth is None

    def skips(self, step: int) -> bool:
        """Whether `step` (from 0) reuses the last prediction instead of making one."""
        return step % (self.skip_step + 1) != 0

    def reuses(self, step: int, sigma: float, before: float) -> bool:
        """Whether `step` (from 0), at `sigma`, computes the prompt's pass alone; `before`: the last step's sigma."""
        return self.reuse and step % 2 == 1 and sigma > REUSED_ABOVE and before - sigma <= LONGEST_REUSED

    def reused_steps(self, sigmas: Tensor) -> int:
        """How many of the steps down the sigmas (steps + 1,) do."""
        levels = sigmas[:-1].tolist()
        return sum(self.reuses(step, levels[step], levels[step - 1]) for step in range(1, len(levels)))

    def blocks(self, num_layers: int) -> frozenset[int]:
        """The blocks that the perturbed pass bypasses in a model of `num_layers` blocks."""
        if self.stg_blocks is None:
            block, depth = self.stg_depth or STG_DEPTH
            return frozenset({block * num_layers // depth})
        missing = sorted(block for block in self.stg_blocks if not 0 <= block < num_layers)
        if missing:
            raise LTXError(
                f"STG blocks {missing} do not exist: the model has {num_layers} blocks, 0 to {num_layers - 1}. Leave "
                "the blocks open to take the one that suits the model."
            )
        return frozenset(self.stg_blocks)


OFF = Guidance()

LTX_2_3_DEV = Guidance(
    video=ModalityGuidance(cfg=3.0, stg=1.0, modality=3.0, rescale=0.7),
    audio=ModalityGuidance(cfg=7.0, stg=1.0, modality=3.0, rescale=0.7),
    stg_depth=STG_DEPTH,
)
LTX_2_0_DEV = Guidance(video=LTX_2_3_DEV.video, audio=LTX_2_3_DEV.audio, stg_depth=(29, 48))
LTX_2_3_HQ = Guidance(
    video=ModalityGuidance(cfg=3.0, modality=3.0, rescale=0.45),
    audio=ModalityGuidance(cfg=7.0, modality=3.0, rescale=1.0),
    stg_blocks=(),
)


def passes(
    guidance: Guidance, contexts: Contexts, num_layers: int, *, with_video: bool = True, with_audio: bool = True
) -> list[GuidancePass]:
    """The passes to run at each step, `cond` first.

    A pass runs if either modality needs it; the perturbed pass bypasses only the modalities whose stg is not 0.
    The scales of a modality that is left out do not count, and neither does the isolated pass then, which would equal
    `cond`.
    """
    video = guidance.video if with_video else ModalityGuidance()
    audio = guidance.audio if with_audio else ModalityGuidance()
    result = [GuidancePass("cond", contexts.video, contexts.audio)]
    if video.needs_negative or audio.needs_negative:
        negative = (contexts.negative_video, contexts.negative_audio)
        if (video.needs_negative and negative[0] is None) or (audio.needs_negative and negative[1] is None):
            raise ConditioningError(
                f"Guidance with CFG scales {video.cfg:g} (video) and {audio.cfg:g} (audio) needs the encoded negative "
                "prompt: give one (an empty one counts), or set both scales to 1."
            )
        # A modality without negative context of its own keeps the prompt's.
        fallback = (contexts.video, contexts.audio)
        negative = (n if n is not None else f for n, f in zip(negative, fallback, strict=True))
        result.append(GuidancePass("negative", *negative))
    if video.needs_perturbed or audio.needs_perturbed:
        blocks = guidance.blocks(num_layers)
        if blocks:
            result.append(
                GuidancePass(
                    "perturbed",
                    contexts.video,
                    contexts.audio,
                    perturbed_video_blocks=blocks if video.needs_perturbed else frozenset(),
                    perturbed_audio_blocks=blocks if audio.needs_perturbed else frozenset(),
                )
            )
    if with_video and with_audio and (video.needs_isolated or audio.needs_isolated):
        result.append(GuidancePass("isolated", contexts.video, contexts.audio, isolated=True))
    return result


def for_made_streams(
    guidance: Guidance, contexts: Contexts, *, video_given: bool = False, audio_given: bool = False
) -> tuple[Guidance, Contexts]:
    """What guides a stage of which one stream is given as a whole.

    Nothing is predicted of that stream: its scales are neutral, its blocks are not bypassed, and it keeps the prompt's
    context in the negative pass.  A sound that is given has its own voice.
    """
    if video_given:
        guidance = replace(guidance, video=ModalityGuidance())
        contexts = replace(contexts, negative_video=None)
    if audio_given:
        guidance = replace(guidance, audio=ModalityGuidance(), identity=0.0)
        contexts = replace(contexts, negative_audio=None)
    return guidance, contexts


def towards_identity(guided: Tensor, cond: Tensor, unreferenced: Tensor, scale: float) -> Tensor:
    """guided + scale (cond - unreferenced) in float32, returned in their dtype; predictions (B, T, 128).

    What has no reference is shorter by the reference's tokens, which come last and stay as they are.  As ComfyUI's
    LTXVReferenceAudio: of picture and sound, after all other guidance.
    """
    own = unreferenced.shape[1]
    away = cond[:, :own].float() - unreferenced.float()
    return torch.cat(((guided[:, :own].float() + scale * away).to(guided.dtype), guided[:, own:]), dim=1)


def combine(guidance: ModalityGuidance, x0: Mapping[str, Tensor]) -> Tensor:
    """Guided prediction (B, T, 128) from the predictions `x0` by pass name, in float32, returned in their dtype.

    g = c + (cfg-1)(c-negative) + stg(c-perturbed) + (modality-1)(c-isolated), then g * (r std(c)/std(g) + 1 - r) with
    the unbiased standard deviation of the whole tensor, conditioned tokens included.  A pass that did not run adds
    nothing.
    """
    dtype = x0["cond"].dtype
    cond = guided = x0["cond"].float()
    for name, scale in (
        ("negative", guidance.cfg - 1),
        ("perturbed", guidance.stg),
        ("isolated", guidance.modality - 1),
    ):
        if name in x0:
            guided = guided + scale * (cond - x0[name].float())
    if guidance.rescale != 0:
        factor = cond.std() / guided.std()
        guided = guided * (guidance.rescale * factor + (1 - guidance.rescale))
    return guided.to(dtype)
