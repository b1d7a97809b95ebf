"""Noise levels (sigmas): the LTX-2 schedule for dev models and the fixed lists of distilled ones."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import LTXError

DISTILLED_STAGE_ONE = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
STAGE_TWO = (0.909375, 0.725, 0.421875, 0.0)

# The shift grows with the number of video tokens: 0.95 at 1024, 2.05 at 4096, on a line beyond.
_FEW_TOKENS, _MANY_TOKENS = 1024, 4096
_SHIFT_OF_FEW, _SHIFT_OF_MANY = 0.95, 2.05
_LAST_SIGMA = 0.1
_NOISE_ALONE = 0.999


def ltx2_sigmas(steps: int, tokens: int = _MANY_TOKENS) -> Tensor:
    """`steps`+1 falling sigmas, float32 (steps + 1,) on the CPU, from about 1 down to 0.1 and then 0.

    The vendor's LTX2Scheduler: uniform sigmas, shifted by s(tokens) as e^s / (e^s + 1/sigma - 1), then 1 - sigma
    stretched so that the last level before 0 is 0.1.  The standard pipelines leave `tokens` at 4096 whatever the size;
    the HQ pipeline gives the number of stage-one video tokens.  The first value may be one rounding below 1, as the
    vendor's is.  One step has nothing to stretch: (1, 0).
    """
    if steps < 1:
        raise LTXError(f"steps is {steps}, expected at least 1.")
    if steps == 1:
        return torch.tensor([1.0, 0.0])
    slope = (_SHIFT_OF_MANY - _SHIFT_OF_FEW) / (_MANY_TOKENS - _FEW_TOKENS)
    shift = math.exp(tokens * slope + (_SHIFT_OF_FEW - slope * _FEW_TOKENS))
    uniform = torch.linspace(1.0, 0.0, steps + 1)[:-1]
    distance = 1.0 - shift / (shift + (1 / uniform - 1))
    distance = distance / (distance[-1] / (1.0 - _LAST_SIGMA))
    return torch.cat((1.0 - distance, torch.zeros(1)))


def begins_with_noise(sigmas: Tensor) -> bool:
    """Whether nothing shows through at the first of the sigmas (steps + 1,); computed ones begin a rounding below 1."""
    return float(sigmas[0]) > _NOISE_ALONE


def partial_sigmas(sigmas: Tensor, denoise: float) -> Tensor:
    """The last part of a schedule (steps + 1,), a share `denoise` of its steps, rounded, at least one; (n + 1,).

    As ComfyUI's SplitSigmasDenoise.  LTXError for a share outside (0, 1].
    """
    if not 0.0 < denoise <= 1.0:
        raise LTXError(f"denoise is {denoise}, expected above 0 (nothing changes) up to 1 (made from noise alone).")
    return sigmas[-(max(1, round((len(sigmas) - 1) * denoise)) + 1) :]


def checked_sigmas(sigmas: Tensor | Sequence[float]) -> Tensor:
    """Any schedule as float32 (steps + 1,) on the CPU; LTXError unless it falls strictly within [0, 1]."""
    try:
        sigmas = torch.as_tensor(sigmas).detach().to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise LTXError(f"The sigmas are a {type(sigmas).__name__}, expected numbers such as 1, 0.5, 0.") from None
    if sigmas.ndim != 1 or sigmas.numel() < 2:
        raise LTXError(f"The sigmas have shape {tuple(sigmas.shape)}, expected one row of at least two, such as 1, 0.")
    shown = ", ".join(f"{sigma:g}" for sigma in sigmas[:12].tolist()) + (", ..." if sigmas.numel() > 12 else "")
    if sigmas.max() > 1 or sigmas.min() < 0:
        raise LTXError(
            f"The sigmas {shown} leave [0, 1]: LTX-2 is a flow model, which mixes data and noise as (1 - sigma) and "
            "sigma. Use a schedule for flow models, from 1 to 0, such as LTXVScheduler's, not one for Stable Diffusion."
        )
    if not (sigmas[1:] < sigmas[:-1]).all():
        raise LTXError(f"The sigmas {shown} do not fall at every step; sort them from most to least noise.")
    return sigmas
