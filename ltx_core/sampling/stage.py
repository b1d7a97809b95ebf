"""A stage as data: how each stream begins, and what is done with it; and the function that samples it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConditioningError, LTXError
from ..progress import SILENT, Reporter
from ..transformer.model import AVTransformer
from ..transformer.runner import BlockRunner
from .conditions.condition import Condition
from .denoiser import guided_denoiser
from .euler import sample_euler
from .geometry import LatentGeometry, SoundGeometry
from .guidance import OFF, Contexts, Guidance
from .noise import add_noise
from .state import AVState, ModalityState, audio_state, frozen, video_state

Sampler = Callable[..., AVState]


@dataclass(frozen=True)
class AVLatent:
    """Normalised latents of a video (1, 128, F', H', W') and its sound (1, 8, T, 16); None for what is left out."""

    video: Tensor | None
    audio: Tensor | None


@dataclass(frozen=True)
class Start:
    """How one modality's stream begins.

    latent: what noise is laid over, None for nothing; noise_scale: how much, 1 for noise alone.  conditions change the
    stream before the noise, in their order.  frozen: the latent is given and stays as it is, without noise (mask 0 and
    sigma 0), and the other modality is made to fit it.
    """

    latent: Tensor | None = None
    noise_scale: float = 1.0
    conditions: tuple[Condition, ...] = ()
    frozen: bool = False

    def __post_init__(self):
        if self.frozen and self.latent is None:
            raise ConditioningError("A frozen stream has no latent; give the latent that it is to keep.")


def check_reuse(guidance: Guidance, sampler: Sampler) -> None:
    """LTXError for guidance that is reused by another sampler than Euler."""
    if guidance.reuse and sampler is not sample_euler:
        raise LTXError(
            "Guidance is to be reused on every other step, which is made and measured for sampler euler alone. Choose "
            "that sampler, or compute guidance at every step."
        )


@dataclass(frozen=True)
class Stage:
    """Everything that one stage does: its size, its noise levels (steps + 1,), and how its streams begin.

    video or audio None leaves that out; without video the geometry may be that of a sound alone.
    """

    geometry: LatentGeometry | SoundGeometry
    sigmas: Tensor
    video: Start | None = Start()
    audio: Start | None = Start()
    guidance: Guidance = OFF
    sampler: Sampler = sample_euler

    def __post_init__(self):
        check_reuse(self.guidance, self.sampler)


@torch.no_grad()
def sample_stage(
    model: AVTransformer,
    stage: Stage,
    contexts: Contexts,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
    run_blocks: BlockRunner | None = None,
) -> AVLatent:
    """Samples a stage from its beginning to clean latents.

    `run_blocks`: how the transformer's blocks are run; None is one after another, see `guided_denoiser`.
    """
    state = begin(stage, generator, dtype=dtype, device=device, reporter=reporter)
    denoise = guided_denoiser(model, state, stage.guidance, contexts, reporter, run_blocks)
    return AVLatent(*stage.sampler(denoise, state, stage.sigmas, reporter).latents())


def begin(
    stage: Stage,
    generator: torch.Generator,
    *,
    noise_dtype: torch.dtype | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> AVState:
    """The noised state from which a stage is sampled.

    Draws from `generator` for video (appended tokens included), then for audio, frozen streams too: what a seed means
    does not depend on them.
    """
    geometry, both = stage.geometry, (stage.video, stage.audio)
    starts = [start for start in both if start is not None]
    latents = [start.latent for start in starts if start.latent is not None]
    factory = {"batch": latents[0].shape[0] if latents else 1, "dtype": dtype, "device": device}
    reporter.check_cancel()
    modalities = [
        None if start is None else _conditioned(make(geometry, initial=start.latent, **factory), start, geometry)
        for make, start in zip((video_state, audio_state), both, strict=True)
    ]
    state = AVState(geometry, *modalities)
    state = add_noise(state, generator, [start.noise_scale for start in starts], noise_dtype, reporter)
    return state.with_modalities(
        [frozen(own) if start.frozen else own for own, start in zip(state.modalities, starts, strict=True)]
    )


def _conditioned(state: ModalityState, start: Start, geometry: LatentGeometry | SoundGeometry) -> ModalityState:
    for condition in start.conditions:
        state = condition.apply(state, geometry)
    return state
