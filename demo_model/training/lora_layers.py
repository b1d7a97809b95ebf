"""Linear layers that learn a LoRA over their own weights, for the engine's modules to be built from (`ops`)."""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ltx_core.transformer.model import AVTransformer
from .network import attention


class LoraLinear(nn.Linear):
    """Weight W + B @ A; W and the bias stay as they are, B begins as zero."""

    rank = 18

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None):
        super().__init__(in_features, out_features, bias, device, dtype)
        rank = min(self.rank, in_features, out_features)
        self.lora_A = nn.Parameter(torch.empty(rank, in_features, device=device, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(out_features, rank, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.lora_B @ self.lora_A, self.bias)


class LoraOps:
    Linear = LoraLinear


# Of a block, what makes the picture: the sound needs no LoRA to come right in three steps.
LEARNING = re.compile(r"transformer_blocks\.\d+\.(attn1|attn2|ff)\.(?!to_gate_logits).*\.lora_[AB]")


def begin(module: nn.Module, generator: torch.Generator) -> None:
    """Draws every A, and freezes all but the A and B of the picture's layers."""
    for name, p in module.named_parameters():
        if name.endswith("lora_A"):
            nn.init.normal_(p, 0.0, p.shape[1] ** -0.5, generator=generator)
        p.requires_grad_(LEARNING.fullmatch(name) is not None)


def new_student(transformer: AVTransformer, ops, generator: torch.Generator) -> AVTransformer:
    """The transformer, in its dtype and where it lies, with layers of `ops` whose LoRA begins to learn."""
    student = _beside(transformer, ops)
    student.load_state_dict(transformer.state_dict(), strict=False)
    begin(student, generator)
    return student


def as_learnt(student: AVTransformer, ops, averaged: dict[str, Tensor]) -> AVTransformer:
    """A copy of the student with these A's and B's, to look at what it makes."""
    model = _beside(student, ops)
    model.load_state_dict({**student.state_dict(), **averaged})
    return model.requires_grad_(False)


def _beside(transformer: AVTransformer, ops) -> AVTransformer:
    weight = next(transformer.parameters())
    return AVTransformer(transformer.params, attention=attention, ops=ops, device=weight.device).to(weight.dtype)


def official(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A's and B's by module names, as LoRA files name them."""
    return {f"diffusion_model.{name}.weight": tensor for name, tensor in tensors.items()}
