"""What one evaluation of the transformer takes: noisy tokens of each modality, and the guidance passes to run."""

from dataclasses import dataclass

from torch import Tensor

from ..kernels.rotary import RotaryTable
from .modulation import TokenTimesteps


@dataclass(frozen=True)
class ModalityRope:
    """Rotary tables of one modality: for its self-attention, and (time axis only) for audio-video attention."""

    tokens: RotaryTable
    cross: RotaryTable


@dataclass(frozen=True)
class ModalityInput:
    """The noisy state of one modality.

    tokens: (B, T, 128); timesteps: (B, T) float32, denoise mask times sigma, or where the distinct ones are known
    beforehand these and their index; sigma: (B,) float32.  bias: (1, 1, T, T) in the tokens' dtype, added to the logits
    of self-attention; None leaves them to the faster kernels.  single_frames: (T,) bool, the tokens of latents that
    stand for one pixel frame, which LTX-2.5 marks; None for none, and in audio.
    """

    tokens: Tensor
    timesteps: Tensor | TokenTimesteps
    sigma: Tensor
    rope: ModalityRope
    bias: Tensor | None = None
    single_frames: Tensor | None = None


@dataclass(frozen=True)
class GuidancePass:
    """One of the predictions that guidance combines; contexts are (B, S, D) after the connectors.

    A modality that is left out has None.

    Self-attention is bypassed in the perturbed blocks of each modality; an isolated pass has no audio-video attention.
    """

    name: str
    video_context: Tensor | None
    audio_context: Tensor | None
    perturbed_video_blocks: frozenset[int] = frozenset()
    perturbed_audio_blocks: frozenset[int] = frozenset()
    isolated: bool = False
