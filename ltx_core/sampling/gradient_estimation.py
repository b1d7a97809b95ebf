"""Gradient-estimating Euler: each step goes on where the velocity is heading, as the vendor's loop of that name does.

Permenter and Yuan, "Interpreting and Improving Diffusion Models from an Optimization Perspective".
"""

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .denoiser import Denoiser
from .euler import euler_step, velocity
from .schedule import checked_sigmas
from .state import AVState

_GAMMA = 2.0


@torch.no_grad()
def sample_gradient_estimation(
    denoise: Denoiser, state: AVState, sigmas: Tensor, reporter: Reporter = SILENT
) -> AVState:
    """Takes a noised state down the sigmas (steps + 1,), one guided prediction a step, and returns it clean.

    The velocity v of a step, (latent - x0) / sigma, is replaced by v_last + 2 (v - v_last); the first step is Euler's,
    and the last one, to 0, lands on the prediction itself.  Rounded to the latents' dtype where the vendor rounds.
    Tokens whose denoise mask is 0 come out with the very bits of their clean tokens.
    """
    sigmas = checked_sigmas(sigmas)
    steps = len(sigmas) - 1
    prediction, last = None, None
    for step in range(steps):
        sigma, sigma_next = sigmas[step], sigmas[step + 1]
        prediction = denoise(state, sigma, step, prediction)
        kept = state.keep(prediction.x0)
        shown = state.with_latents(kept).latents()[0]
        if sigma_next == 0:
            state = state.with_latents(kept)
        else:
            latents = [modality.latent for modality in state.modalities]
            velocities = [velocity(x, clean, sigma) for x, clean in zip(latents, kept, strict=True)]
            heading = kept if last is None else _ahead(latents, velocities, last, sigma)
            last = velocities
            moved = [euler_step(x, clean, sigma, sigma_next) for x, clean in zip(latents, heading, strict=True)]
            state = state.with_latents(moved)
        reporter.step(step + 1, steps, shown)
    return state


def _ahead(latents: list[Tensor], velocities: list[Tensor], last: list[Tensor], sigma: Tensor) -> list[Tensor]:
    """The predictions to which the velocities lead that go on as they have changed."""
    estimated = [_GAMMA * (v - before) + before for v, before in zip(velocities, last, strict=True)]
    return [(x.float() - v.float() * sigma.item()).to(x.dtype) for x, v in zip(latents, estimated, strict=True)]
