"""Ancestral Euler for flow models: each step goes further down than the next level, and noise brings it back up.

The vendor's sampler for stage one of distilled models since LTX-2.5; the same formula as k-diffusion's for rectified
flow.
"""

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .denoiser import Denoiser
from .noise import draw_noise
from .schedule import checked_sigmas
from .state import AVState

SEED_OFFSET = 10000  # from a run's seed to that of the noise between its steps


def ancestral_step(latent: Tensor, x0: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor) -> Tensor:
    """One step from `sigma` to `sigma_next` (scalar tensors above 0), float32, with all of its noise made anew (eta 1).

    x goes to sigma_down = sigma_next^2 / sigma along its way to x0, then to (1 - sigma_next) / (1 - sigma_down) of
    itself with as much noise as makes up the variance.
    """
    down = sigma_next * (1.0 + (sigma_next / sigma - 1.0))
    share = down / sigma
    signal, signal_down = 1.0 - sigma_next, 1.0 - down
    renoise = (sigma_next**2 - down**2 * signal**2 / signal_down**2).clamp(min=0) ** 0.5
    moved = share * latent.float() + (1.0 - share) * x0.float()
    return (signal / signal_down) * moved + noise.float() * renoise


@torch.no_grad()
def sample_euler_ancestral(
    denoise: Denoiser,
    state: AVState,
    sigmas: Tensor,
    reporter: Reporter = SILENT,
    *,
    noise_seed: int,
    noise_device: torch.device | str | None = None,
) -> AVState:
    """Takes a noised state down the sigmas (steps + 1,), one guided prediction a step, and returns it clean.

    Its noise comes from one generator of its own, seeded `noise_seed`, on `noise_device` (None: where the latents are),
    in the latents' dtype: at each step for video, then for audio, none at the last one, to 0.  The vendor seeds it with
    the run's seed + 10000.  Tokens whose denoise mask is 0 come out with the very bits of their clean tokens.
    """
    sigmas = checked_sigmas(sigmas)
    device = state.modalities[0].latent.device
    generator = torch.Generator(device=noise_device or device).manual_seed(noise_seed)
    steps = len(sigmas) - 1
    prediction = None
    for step in range(steps):
        sigma, sigma_next = sigmas[step], sigmas[step + 1]
        prediction = denoise(state, sigma, step, prediction)
        kept = moved = state.keep([x0.float() for x0 in prediction.x0])
        shown = state.with_latents(kept).latents()[0]
        if sigma_next > 0:
            moved = []
            for modality, clean in zip(state.modalities, kept, strict=True):
                x = modality.latent
                noise = draw_noise(x.shape, generator, dtype=x.dtype, device=device, reporter=reporter)
                moved.append(modality.keep(ancestral_step(x, clean, sigma, sigma_next, noise)))
        pairs = zip(moved, state.modalities, strict=True)
        state = state.with_latents([x.to(modality.latent.dtype) for x, modality in pairs])
        reporter.step(step + 1, steps, shown)
    return state
