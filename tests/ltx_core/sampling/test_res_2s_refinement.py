"""Where res_2s refines the anchor of a step: at short steps (h below 0.5) above sigma 0.03, as the vendor's HQ does."""

import math

import pytest
import torch

from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF, Contexts
from ltx_duo.ltx_core.sampling.res_2s import coefficients, sample_res_2s, sde_step, standardised_noise
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler, start_stage

GEOMETRY = LatentGeometry(96, 64, 9, 24.0)
CONTEXTS = Contexts(torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))


def velocity(tokens, _timesteps, _pass):
    return torch.tanh(tokens)


def clean(latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    x = latent.float()
    return (x - sigma.float() * torch.tanh(x)).double()


def one_step(latent: torch.Tensor, sigmas: torch.Tensor, refined: bool) -> torch.Tensor:
    """The step from the first sigma to the second.  Refining a = middle - c (clean - a) again and again ends in the
    solution of that equation."""
    noises = [torch.Generator().manual_seed(seed) for seed in (9999, -1)]
    start, (sigma, sigma_next) = latent.double(), sigmas.double()
    h = math.log(sigma / sigma_next)
    a21, b1, b2 = coefficients(h)
    half = (sigma * sigma_next).sqrt()
    x0 = clean(latent, sigma)
    middle = sde_step(start, start + h * a21 * (x0 - start), sigma, half, standardised_noise(latent, noises[0]))
    c = h * a21
    anchor = (middle - c * x0) / (1 - c) if refined else start
    second = clean(middle, half)
    target = anchor + h * (b1 * (x0 - anchor) + b2 * (second - anchor))
    return sde_step(anchor, target, *sigmas, standardised_noise(latent, noises[1]))


@pytest.mark.parametrize(
    ("sigma", "sigma_next", "refined"),
    [
        (0.5, 0.4, True),
        (0.5, 0.25, False),  # too long a step
        (0.031, 0.028, True),
        (0.029, 0.026, False),  # too little noise
        (0.01, 0.009, False),
    ],
)
def test_where_the_anchor_is_refined(toy_model, sigma, sigma_next, refined):
    sigmas = torch.tensor([sigma, sigma_next])
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(2), with_audio=False, dtype=torch.float32)
    found = run_sampler(sample_res_2s, toy_model(velocity), state, sigmas, OFF, CONTEXTS).video.latent
    expected, other = (one_step(state.video.latent, sigmas, choice) for choice in (refined, not refined))
    assert (found - expected).abs().max() < 1e-4
    assert (found - other).abs().max() > 2e-3
