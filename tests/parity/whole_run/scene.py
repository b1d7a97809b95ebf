"""What both sides are asked to make, from which files, and how their results are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

# Tensors by what they are: contexts, both stages' latents, frames, waveform.
Trace = dict[str, Tensor]

# max |difference| / max |reference|.  The vendor differs from itself by about 1e-4 when its rounding changes (float64,
# or float64 rotary angles); every planted mistake in test_planted_mistakes.py moves something by more than these.
CONTEXT_BAR = 1e-3
BAR = 3e-4
EIGHT_BIT = "8-bit frames"
EIGHT_BIT_BAR = 1
GIVEN = "given audio latent"
GIVEN_VIDEO = "given video latent"
HQ_LORA_STRENGTHS = (0.25, 0.5)


@dataclass(frozen=True)
class SmallModel:
    """Files of a small model in the official layout, float32; `gemma` is a Hugging Face folder.

    ic_lora: the LoRA, as one that reads references of half the size.
    """

    checkpoint: Path
    upsampler: Path
    lora: Path
    gemma: Path
    ic_lora: Path


@dataclass(frozen=True)
class Picture:
    """An image file, the pixel frame that it is shown at, and how firmly.  Its compression is another test's."""

    path: Path
    frame: int
    strength: float


@dataclass(frozen=True)
class Recording:
    """A WAV file of 16 bits, longer than the film, and the second of it at which the film begins."""

    path: Path
    start: float


@dataclass(frozen=True, eq=False)
class Footage:
    """A film of 8 bits (F, H, W, 3), its sound (channels, samples), as long, and what of both is made anew."""

    frames: Tensor
    sound: Tensor
    rate: int
    window: tuple[float, float]
    new_picture: bool = True
    new_sound: bool = True


@dataclass(frozen=True, eq=False)
class Guide:
    """A reference film of 8 bits (F, H, W, 3), and how firmly it is kept."""

    frames: Tensor
    strength: float = 1.0


@dataclass(frozen=True)
class Scales:
    """Guidance of one modality; the defaults are the video's of the dev pipeline."""

    cfg: float = 3.0
    stg: float = 1.0
    rescale: float = 0.7
    modality: float = 3.0


@dataclass(frozen=True)
class Scene:
    """A prompt, a seed and a size (the final one) with the settings of stage one.

    attention_mask: (F, H, W) of stage one's size, for all guides.  generated: frames of keyframes that are generated.
    """

    prompt: str
    negative_prompt: str
    seed: int
    width: int = 128
    height: int = 64
    frames: int = 9
    fps: float = 24.0
    steps: int = 4
    images: tuple[Picture, ...] = ()
    sound: Recording | None = None
    film: Footage | None = None
    guides: tuple[Guide, ...] = ()
    attention_strength: float = 1.0
    attention_mask: Tensor | None = None
    generated: tuple[int, ...] = ()
    video: Scales = field(default_factory=Scales)
    audio: Scales = field(default_factory=lambda: Scales(cfg=7.0))
    stg_blocks: tuple[int, ...] = (1,)


def bar(name: str) -> float:
    """How far the tensor `name` of a trace may be off."""
    return EIGHT_BIT_BAR if name == EIGHT_BIT else CONTEXT_BAR if name.endswith("context") else BAR


def errors(ours: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, float]:
    """The error of every tensor of the reference's trace; 8-bit frames in levels, all else relative."""
    result = {}
    for name, expected in reference.items():
        assert ours[name].shape == expected.shape, f"{name}: {tuple(ours[name].shape)}, not {tuple(expected.shape)}"
        difference = (ours[name].double() - expected.double()).abs().max()
        assert torch.isfinite(difference), f"{name} is not finite"
        scale = 1.0 if name == EIGHT_BIT else expected.double().abs().max().clamp_min(1e-30)
        result[name] = float(difference / scale)
    return result
