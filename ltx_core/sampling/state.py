"""The state of a stage while it is sampled: noisy tokens, what they must keep, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import GeometryError
from .attention_weights import AttentionWeights
from .geometry import LatentGeometry, SoundGeometry
from .patchify import patchify_audio, patchify_video, unpatchify_audio, unpatchify_video


@dataclass(frozen=True)
class ModalityState:
    """Tokens of one modality.

    latent: (B, T, 128) noisy tokens; clean: (B, T, 128) what conditioned tokens go back to;
    denoise_mask: (B, T, 1) float32, 1 = generate freely, 0 = keep clean; positions: (1, axes, T, 2) float32 bounds.
    frozen: given as a whole: its mask is 0, and so is its noise level wherever the model asks for one.
    attention: how strongly appended tokens are looked at; None where all look at all.
    single_frames: which appended tokens stand for one pixel frame each, and are made as the video is.
    """

    latent: Tensor
    clean: Tensor
    denoise_mask: Tensor
    positions: Tensor
    frozen: bool = False
    attention: AttentionWeights | None = None
    single_frames: range = range(0)

    def timesteps(self, sigma: Tensor) -> Tensor:
        """(B, T) float32: each token's own noise level, its mask times `sigma` (B,)."""
        return (self.denoise_mask * sigma.view(-1, 1, 1)).float().squeeze(-1)

    def keep(self, x0: Tensor) -> Tensor:
        """Blends a prediction (B, T, 128) with the clean tokens: x0 * mask + clean * (1 - mask), in x0's dtype."""
        return (x0 * self.denoise_mask + self.clean.float() * (1 - self.denoise_mask)).to(x0.dtype)


@dataclass(frozen=True)
class AVState:
    """Video and audio at one stage's geometry; either of them may be left out, the other is sampled alone."""

    geometry: LatentGeometry | SoundGeometry
    video: ModalityState | None
    audio: ModalityState | None

    @property
    def modalities(self) -> tuple[ModalityState, ...]:
        """Those that are there, video first."""
        return tuple(own for own in (self.video, self.audio) if own is not None)

    def with_modalities(self, modalities: Sequence[ModalityState]) -> "AVState":
        """The same state with others in the place of its modalities, in their order."""
        names = [name for name in ("video", "audio") if getattr(self, name) is not None]
        return replace(self, **dict(zip(names, modalities, strict=True)))

    def with_latents(self, latents: Sequence[Tensor]) -> "AVState":
        """The same state with other tokens: video's, then audio's."""
        pairs = zip(self.modalities, latents, strict=True)
        return self.with_modalities([replace(modality, latent=latent) for modality, latent in pairs])

    def keep(self, x0: Sequence[Tensor]) -> list[Tensor]:
        """Blends each modality's prediction with its clean tokens."""
        return [modality.keep(prediction) for modality, prediction in zip(self.modalities, x0, strict=True)]

    def latents(self) -> tuple[Tensor | None, Tensor | None]:
        """Video (B, 128, F, H, W) and audio (B, 8, T, 16), or None; appended tokens are left behind."""
        video = audio = None
        if self.video is not None:
            video = unpatchify_video(clear_conditioning(self.video, self.geometry.video_tokens).latent, self.geometry)
        if self.audio is not None:
            audio = unpatchify_audio(clear_conditioning(self.audio, self.geometry.audio_frames).latent)
        return video, audio


def video_state(
    geometry: LatentGeometry,
    *,
    batch: int = 1,
    initial: Tensor | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
) -> ModalityState:
    """A state before conditioning and noise: zeros, or the latent `initial` (B, 128, F', H', W').

    Clean tokens are a copy of the initial latent, made before any noise.  They only show where a condition sets the
    denoise mask below 1.
    """
    shape = geometry.video_shape
    tokens = None if initial is None else patchify_video(_checked(initial, shape, "video"))
    positions = geometry.video_positions(device)
    return _state(tokens, (batch, geometry.video_tokens, shape[0]), positions, dtype, device)


def audio_state(
    geometry: LatentGeometry | SoundGeometry,
    *,
    batch: int = 1,
    initial: Tensor | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
) -> ModalityState:
    """Like `video_state`, from zeros or the latent `initial` (B, 8, T, 16)."""
    channels, frames, bins = shape = geometry.audio_shape
    tokens = None if initial is None else patchify_audio(_checked(initial, shape, "audio"))
    return _state(tokens, (batch, frames, channels * bins), geometry.audio_positions(device), dtype, device)


def appended(
    state: ModalityState, tokens: Tensor, positions: Tensor, strength: float, weights: Tensor | None = None
) -> ModalityState:
    """The state with clean tokens (1, M, 128) behind its own, at positions (1, axes, M, 2); zeros before noise.

    strength: 1 keeps them, 0 generates them freely.  weights: (M,), see `AttentionWeights`, which the state has where
    some are below 1.
    """
    tokens = tokens.to(state.latent).expand(state.latent.shape[0], -1, -1)
    # The vendor builds this mask in the latent's dtype: in bfloat16 a strength of 0.7 means 1 - 0.30078125.
    mask = torch.full((*tokens.shape[:2], 1), 1.0 - strength, dtype=tokens.dtype, device=tokens.device).float()
    return replace(
        state,
        latent=torch.cat((state.latent, torch.zeros_like(tokens)), dim=1),
        clean=torch.cat((state.clean, tokens), dim=1),
        denoise_mask=torch.cat((state.denoise_mask, mask), dim=1),
        positions=torch.cat((state.positions, positions), dim=2),
        attention=None if state.attention is None else state.attention.grown(tokens.shape[1], weights),
    )


def frozen(state: ModalityState) -> ModalityState:
    """The state kept as it is through a stage."""
    return replace(state, latent=state.clean, denoise_mask=torch.zeros_like(state.denoise_mask), frozen=True)


def clear_conditioning(state: ModalityState, tokens: int) -> ModalityState:
    """Drops what conditioning appended after the first `tokens` tokens, and sets the mask to 1 everywhere."""
    return ModalityState(
        latent=state.latent[:, :tokens],
        clean=state.clean[:, :tokens],
        denoise_mask=torch.ones_like(state.denoise_mask[:, :tokens]),
        positions=state.positions[:, :, :tokens],
    )


def _checked(latent: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if latent.ndim != len(shape) + 1 or tuple(latent.shape[1:]) != shape:
        raise GeometryError(
            f"The {name} latent has shape {tuple(latent.shape)}, expected {('B', *shape)} for this size, frame count "
            "and frame rate; give the latent of the same video."
        )
    return latent


def _state(
    tokens: Tensor | None,
    shape: tuple[int, int, int],
    positions: Tensor,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> ModalityState:
    latent = torch.zeros(shape, dtype=dtype, device=device) if tokens is None else tokens.to(device, dtype)
    return ModalityState(
        latent=latent,
        clean=latent if tokens is None else latent.clone(),
        denoise_mask=torch.ones(*latent.shape[:2], 1, dtype=torch.float32, device=device),
        positions=positions,
    )
