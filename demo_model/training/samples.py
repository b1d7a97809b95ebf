"""What the transformer makes of prompts so far: by the pipeline's own functions, many prompts at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...ltx_core.sampling.denoiser import guided_denoiser
from ...ltx_core.sampling.euler import sample_euler
from ...ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts, Guidance
from ...ltx_core.sampling.noise import add_noise
from ...ltx_core.sampling.schedule import ltx2_sigmas
from ...ltx_core.sampling.state import AVState, ModalityState, appended, audio_state, frozen, video_state
from ...ltx_core.transformer.model import AVTransformer
from ..detectors import heard, seen
from ..world import Scene
from .latents import geometry
from .network import TextToAV
from .text_features import TextPool

CONTEXT = 1024  # places, as inference has them


@dataclass(frozen=True)
class Keep:
    """Tokens (B, T, 128) of one modality that stay but where `made_anew` (B, T) is True."""

    tokens: Tensor
    made_anew: Tensor

    def of(self, state: ModalityState) -> ModalityState:
        """A state that keeps them, frozen where nothing is made anew."""
        mask = self.made_anew[..., None].float()
        kept = replace(state, clean=torch.where(mask < 1, self.tokens, state.clean), denoise_mask=mask)
        return kept if self.made_anew.any() else frozen(kept)


def contexts(network: TextToAV, text: TextPool) -> Contexts:
    """Of a pool whose last text is the negative prompt and whose others are prompts."""
    device = text.lengths.device
    prompts = torch.arange(len(text.lengths) - 1, device=device)
    ropes = network.ropes(geometry(64), CONTEXT, device)
    pairs = [
        network.contexts(*text.take(numbers, int(text.lengths.max())), CONTEXT, ropes)
        for numbers in (prompts, torch.full_like(prompts, len(prompts)))
    ]
    return Contexts(*pairs[0], *pairs[1])


@torch.no_grad()
def sample(
    transformer: AVTransformer,
    size: int,
    given: Contexts,
    generator: torch.Generator,
    *,
    guidance: Guidance = LTX_2_3_DEV,
    sigmas: Tensor | None = None,
    initial: tuple[Tensor, Tensor] | None = None,
    kept: tuple[Keep | None, Keep | None] = (None, None),
    reference: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Latents of video (B, 128, F', H', W') and audio (B, 8, T, 16) at `size` pixels, one for each prompt.

    Stage one without `initial`; with the latents of video and audio stage two, which starts at the first of `sigmas`.
    kept: of video and audio.  reference: tokens (B, M, 128) that stand beside the video's, and their positions.
    """
    sigmas = ltx2_sigmas(30) if sigmas is None else sigmas
    options = {"batch": len(given.video), "dtype": given.video.dtype, "device": generator.device}
    video, audio = initial or (None, None)
    states = (
        video_state(geometry(size), initial=video, **options),
        audio_state(geometry(size), initial=audio, **options),
    )
    states = [own if keep is None else keep.of(own) for own, keep in zip(states, kept, strict=True)]
    if reference is not None:
        states[0] = appended(states[0], *reference, 1.0)
    state = AVState(geometry(size), *states)
    scale = 1.0 if initial is None else float(sigmas[0])
    state = add_noise(state, generator, (scale, scale))
    return sample_euler(guided_denoiser(transformer, state, guidance, given), state, sigmas).latents()


def share_right(found: Sequence[str | None], asked: Sequence[str]) -> float:
    """How many of the answers are as asked, 0..1."""
    return sum(one == other for one, other in zip(found, asked, strict=True)) / len(asked)


def judged(films: Sequence[Tensor], scenes: Sequence[Scene]) -> dict[str, float]:
    """Shares of films (3, F, H, W) in [-1, 1] whose colour, shape and motion are those of the scenes."""
    found = [seen((film.float().clamp(-1, 1) + 1).permute(1, 2, 3, 0).cpu() / 2) for film in films]
    return {
        name: share_right([getattr(one, name) for one in found], [getattr(scene, name) for scene in scenes])
        for name in ("colour", "shape", "motion")
    }


def judged_sounds(waveforms: Sequence[Tensor], rate: int, scenes: Sequence[Scene]) -> float:
    """The share of waveforms (2, samples) whose pitch is that of the scene's shape, or that are silent as it is."""
    asked = [None if scene.motion == "still" else scene.shape for scene in scenes]
    return share_right([heard(waveform.float().cpu(), rate).shape for waveform in waveforms], asked)
