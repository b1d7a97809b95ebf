"""The Euler sampler, the vendor's default for both stages."""

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .denoiser import Denoiser
from .schedule import checked_sigmas
from .state import AVState


def euler_step(latent: Tensor, x0: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One step from `sigma` to `sigma_next` (scalar tensors, sigma > 0) along the velocity (latent - x0) / sigma.

    Float32 inside; the velocity is first rounded to the latent's dtype, as in the vendor's EulerDiffusionStep, so the
    last step lands on x0 only up to that rounding.
    """
    moved = latent.float() + velocity(latent, x0, sigma).float() * (sigma_next - sigma).item()
    return moved.to(latent.dtype)


def velocity(latent: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """(latent - x0) / sigma, float32 inside, in the latent's dtype."""
    return ((latent.float() - x0.float()) / sigma.item()).to(latent.dtype)


@torch.no_grad()
def sample_euler(denoise: Denoiser, state: AVState, sigmas: Tensor, reporter: Reporter = SILENT) -> AVState:
    """Takes a noised state down the sigmas (steps + 1,), one guided prediction a step, and returns it clean.

    Tokens whose denoise mask is 0 come out with the very bits of their clean tokens.
    """
    sigmas = checked_sigmas(sigmas)
    steps = len(sigmas) - 1
    prediction = None
    for step in range(steps):
        prediction = denoise(state, sigmas[step], step, prediction)
        kept = state.keep(prediction.x0)
        state = state.with_latents(
            [
                euler_step(modality.latent, clean, sigmas[step], sigmas[step + 1])
                for modality, clean in zip(state.modalities, kept, strict=True)
            ]
        )
        reporter.step(step + 1, steps, state.with_latents(kept).latents()[0])
    return state
