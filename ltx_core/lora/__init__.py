"""LoRA files: what they change, whether they fit a model, and their effect on plain PyTorch modules.

A layer's weight W becomes W + strength * scale * B @ A, where scale is 1, or alpha / rank in files with an alpha.
"""

from .apply import fused, lora_deltas
from .file import LoRA
from .layers import LoraLayer
from .reference import (
    ReferenceFactors,
    common_factors,
    common_reference_factors,
    factors_in,
    reference_factors,
)
from .strengths import StreamStrengths, Strengths

__all__ = [
    "LoRA",
    "LoraLayer",
    "ReferenceFactors",
    "StreamStrengths",
    "Strengths",
    "common_factors",
    "common_reference_factors",
    "factors_in",
    "fused",
    "lora_deltas",
    "reference_factors",
]
