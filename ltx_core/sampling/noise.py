"""Noise.  The order and the layout of the draws decide what a seed means.

The vendor draws from one generator, in the token layout (B, T, 128) and in the latent's dtype, on the device the model
runs on: video then audio for stage one, video then audio for stage two.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..progress import SILENT, Reporter
from .pieces import pieces
from .state import AVState, ModalityState


def draw_noise(
    shape: Sequence[int],
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    reporter: Reporter = SILENT,
) -> Tensor:
    """Standard normal noise of `shape` in `dtype`, drawn on the generator's device and then moved to `device`."""
    if generator.device.type == "cpu":
        noise = torch.empty(tuple(shape), dtype=dtype)
        # The same numbers as at once: the CPU draws in order, by sixteens.
        for piece in pieces(noise.numel(), reporter):
            noise.view(-1)[piece].normal_(generator=generator)
    else:
        noise = torch.randn(tuple(shape), generator=generator, dtype=dtype, device=generator.device)
    return noise.to(generator.device if device is None else device)


def skip_draws(
    shapes: Sequence[Sequence[int]], generator: torch.Generator, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Moves a fresh generator past earlier draws, so that a stage two alone continues stage one's random numbers."""
    for shape in shapes:
        draw_noise(shape, generator, dtype=dtype)


def noised(state: ModalityState, noise: Tensor, scale: float, reporter: Reporter = SILENT) -> ModalityState:
    """Lays noise over a state: mixes it into the latent by `scale`, then goes from clean to that by the denoise mask.

    Float32 inside (the vendor's GaussianNoiser since v1.2).  v1.0 mixed noise and latent by mask * scale: the same
    where the mask is 0 or 1; between, v1.0 left more of the latent and took nothing from the clean tokens.
    """
    latent = torch.empty_like(state.latent, memory_format=torch.contiguous_format)
    for piece in pieces(latent.shape[1], reporter, latent.shape[0] * latent.shape[2]):
        mixed = torch.lerp(state.latent[:, piece].float(), noise[:, piece].float(), scale)
        latent[:, piece] = torch.lerp(state.clean[:, piece].float(), mixed, state.denoise_mask[:, piece])
    return replace(state, latent=latent)


def add_noise(
    state: AVState,
    generator: torch.Generator,
    scales: Sequence[float] = (1.0, 1.0),
    dtype: torch.dtype | None = None,
    reporter: Reporter = SILENT,
) -> AVState:
    """Draws for video, then for audio, and lays the noise over both by the scale of each.

    `dtype` None draws in the latents' dtype.
    """
    modalities = []
    for modality, scale in zip(state.modalities, scales, strict=False):
        latent = modality.latent
        noise = draw_noise(
            latent.shape, generator, dtype=dtype or latent.dtype, device=latent.device, reporter=reporter
        )
        modalities.append(noised(modality, noise, scale, reporter))
    return state.with_modalities(modalities)
