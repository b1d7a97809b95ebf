"""The res_2s sampler of the vendor's HQ pipeline: second order, with noise put back at each half step and step.

State arithmetic is float64; the model sees latents in their own dtype.
"""

import math

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .denoiser import Denoiser
from .schedule import checked_sigmas
from .state import AVState

NOISE_SEED = -1
_SUBSTEP_SEED_OFFSET = 10000
# Stands in for 0, whose logarithm the sampler cannot take; one more prediction from there is the result.
_LAST_SIGMA = 0.0011
# Steps short enough, and noisy enough, have their anchor refined this often.
_REFINEMENTS, _REFINE_BELOW_H, _REFINE_ABOVE_SIGMA = 100, 0.5, 0.03
_ETA = 0.5


def coefficients(h: float) -> tuple[float, float, float]:
    """(a21, b1, b2) of the exponential Runge-Kutta step of size h = ln(sigma / sigma_next), its middle at c2 = 1/2."""

    def phi1(z: float) -> float:
        return (math.exp(z) - 1) / z

    b2 = (math.exp(-h) - (1 - h)) / h**2 / 0.5
    return 0.5 * phi1(-h * 0.5), phi1(-h) - b2, b2


def standardised_noise(latent: Tensor, generator: torch.Generator) -> Tensor:
    """Float64 noise of the latent's shape (B, T, 128) with mean 0 and deviation 1 in each sample."""
    noise = torch.randn(latent.shape, generator=generator, dtype=_wide(generator.device), device=generator.device)
    # The vendor standardises the whole tensor first, which only matters for equal bits.
    noise = (noise - noise.mean()) / noise.std()
    noise = noise - noise.mean(dim=(-2, -1), keepdim=True)
    return (noise / noise.std(dim=(-2, -1), keepdim=True)).to(latent.device)


def sde_step(anchor: Tensor, target: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor) -> Tensor:
    """Goes from `anchor` at `sigma` to `target` at `sigma_next` with half of the noise level replaced by `noise`.

    Variance preserving for x = (1 - sigma) data + sigma noise; sigmas are scalar tensors whose dtype is that of the
    coefficients (the vendor's get_sde_coeff: float64 at half steps, float32 at steps).
    """
    up = sigma_next * _ETA
    rest = (sigma_next**2 - up**2).sqrt()
    ratio = 1 - sigma_next + rest
    direction = (anchor - target) / (sigma - sigma_next)
    data = anchor - sigma * direction
    return ratio * (data + rest / ratio * direction) + up * noise


@torch.no_grad()
def sample_res_2s(
    denoise: Denoiser,
    state: AVState,
    sigmas: Tensor,
    reporter: Reporter = SILENT,
    *,
    noise_seed: int = NOISE_SEED,
    noise_device: torch.device | str | None = None,
) -> AVState:
    """Takes a noised state down the sigmas with two guided predictions a step, and returns it clean.

    Its noise comes from two generators of its own, seeded `noise_seed` (steps) and noise_seed + 10000 (half steps) on
    `noise_device` (None: where the latents are), the same for every run: the vendor's HQ pipeline does not derive them
    from the user's seed.  Tokens whose denoise mask is 0 come out with the very bits of their clean tokens.
    """
    sigmas = checked_sigmas(sigmas)
    device = state.modalities[0].latent.device
    step_noise, half_step_noise = (
        torch.Generator(device=noise_device or device).manual_seed(seed)
        for seed in (noise_seed, noise_seed + _SUBSTEP_SEED_OFFSET)
    )
    wide = _wide(device)
    steps, clean_at_end = len(sigmas) - 1, bool(sigmas[-1] == 0)
    if clean_at_end:
        sigmas = torch.cat((sigmas[:-1], torch.tensor([_LAST_SIGMA])))
    total = steps + clean_at_end
    prediction = None

    def renoised(anchors: list[Tensor], targets: list[Tensor], sigma: Tensor, sigma_next: Tensor, generator):
        noises = [standardised_noise(modality.latent, generator) for modality in state.modalities]
        steps = zip(anchors, targets, noises, strict=True)
        return state.keep([sde_step(anchor, target, sigma, sigma_next, noise) for anchor, target, noise in steps])

    for step in range(steps):
        sigma, sigma_next = sigmas[step].double(), sigmas[step + 1].double()
        h = -math.log(sigma_next / sigma)
        a21, b1, b2 = coefficients(h)
        half_sigma = (sigma * sigma_next).sqrt()

        prediction = denoise(state, sigmas[step], step, prediction)
        kept = state.keep(prediction.x0)
        x0 = [x.to(wide) for x in kept]
        anchors = [modality.latent.to(wide) for modality in state.modalities]
        slopes = [d - a for d, a in zip(x0, anchors, strict=True)]
        middles = [a + h * a21 * s for a, s in zip(anchors, slopes, strict=True)]
        middles = renoised(anchors, middles, sigma, half_sigma, half_step_noise)
        if h < _REFINE_BELOW_H and sigma > _REFINE_ABOVE_SIGMA:
            for _ in range(_REFINEMENTS):
                anchors = [m - h * a21 * s for m, s in zip(middles, slopes, strict=True)]
                slopes = [d - a for d, a in zip(x0, anchors, strict=True)]

        middle = state.with_latents(_narrow(middles, state))
        prediction = denoise(middle, half_sigma, step)  # never skipped
        second = [x.to(wide) for x in state.keep(prediction.x0)]
        targets = [a + h * (b1 * s + b2 * (d - a)) for a, s, d in zip(anchors, slopes, second, strict=True)]
        ends = renoised(anchors, targets, sigmas[step], sigmas[step + 1], step_noise)
        reporter.step(step + 1, total, state.with_latents(kept).latents()[0])
        state = state.with_latents(_narrow(ends, state))

    if clean_at_end:
        state = state.with_latents(state.keep(denoise(state, sigmas[steps], steps, prediction).x0))
        reporter.step(total, total, state.latents()[0])
    return state


def _narrow(latents: list[Tensor], state: AVState) -> list[Tensor]:
    return [x.to(m.latent.dtype) for x, m in zip(latents, state.modalities, strict=True)]


def _wide(device: torch.device) -> torch.dtype:
    # Apple's GPUs have no float64.
    return torch.float32 if torch.device(device).type == "mps" else torch.float64
