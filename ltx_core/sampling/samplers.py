"""Samplers by name."""

from functools import partial

import torch

from ..errors import LTXError
from .euler import sample_euler
from .euler_ancestral import SEED_OFFSET, sample_euler_ancestral
from .gradient_estimation import sample_gradient_estimation
from .res_2s import sample_res_2s
from .stage import Sampler

SAMPLERS = ("euler", "res_2s", "gradient_estimation", "euler_ancestral")
_MOST_SEED = 2**64


def named_sampler(name: str, seed: int, noise_device: torch.device | str | None = None) -> Sampler:
    """The sampler called `name`, one of SAMPLERS, as ComfyUI calls them.

    What noise it makes while it goes is drawn on `noise_device` (None: where the latents are): of euler_ancestral from
    the run's `seed` + 10000, of res_2s from a seed of its own, as the vendor has both.  LTXError for another name.
    """
    if name == "euler":
        return sample_euler
    if name == "res_2s":
        return partial(sample_res_2s, noise_device=noise_device)
    if name == "gradient_estimation":
        return sample_gradient_estimation
    if name == "euler_ancestral":
        seed = (seed + SEED_OFFSET) % _MOST_SEED
        return partial(sample_euler_ancestral, noise_seed=seed, noise_device=noise_device)
    raise LTXError(f"There is no sampler {name!r}; expected one of {', '.join(SAMPLERS)}.")
