"""How far two films are apart: their latents, frames and sound."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .made import FRAMES, LATENTS, SOUND

LEVELS = 255
CHUNK = 16  # frames at once: a film of full size takes 2 GB as floats


def differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, float | None]:
    """By what is compared: relative errors of the latents, decibels and levels of the frames, decibels of the sound.

    Decibels are None between equal ones.
    """
    result = {}
    for name in LATENTS:
        result[f"{name}, largest"], result[f"{name}, L2"] = relative(ours[name], theirs[name])
    result |= of_frames(ours[FRAMES], theirs[FRAMES])
    result["sound, largest"], distance = relative(ours[SOUND], theirs[SOUND])
    result["sound SNR dB"] = None if distance == 0 else -20 * math.log10(distance)
    return result


def relative(result: Tensor, reference: Tensor) -> tuple[float, float]:
    """max |difference| / max |reference|, and the same of their L2 norms; ValueError for other shapes."""
    if result.shape != reference.shape:
        raise ValueError(f"shapes {tuple(result.shape)} and {tuple(reference.shape)} cannot be compared")
    difference, reference = result.double() - reference.double(), reference.double()
    largest = difference.abs().max() / reference.abs().max().clamp_min(1e-30)
    return float(largest), float(difference.norm() / reference.norm().clamp_min(1e-30))


def of_frames(ours: Tensor, theirs: Tensor) -> dict[str, float | None]:
    """PSNR in dB over the film and of its worst frame, and the largest difference in levels of 255."""
    if ours.shape != theirs.shape:
        raise ValueError(f"films of {tuple(ours.shape)} and {tuple(theirs.shape)} cannot be compared")
    errors, largest = [], 0.0
    for mine, other in zip(ours.split(CHUNK), theirs.split(CHUNK), strict=True):
        difference = mine.float() - other.float()
        errors.append(difference.square().mean(dim=(1, 2, 3)).double())
        largest = max(largest, float(difference.abs().max()))
    error = torch.cat(errors)
    return {
        "frames PSNR dB": psnr(float(error.mean())),
        "worst frame PSNR dB": psnr(float(error.max())),
        "frames, largest level": largest,
    }


def psnr(mean_square: float) -> float | None:
    """Of 8-bit pictures; None for equal ones."""
    return None if mean_square == 0 else 10 * math.log10(LEVELS**2 / mean_square)
