"""How strongly appended tokens and the stage's own look at each other in self-attention."""

from dataclasses import dataclass

import torch
from torch import Tensor

_ALIGNED = 16  # PyTorch's kernels copy a bias whose rows begin anywhere else, at each call


@dataclass(frozen=True)
class AttentionWeights:
    """The vendor's attention mask of a state, kept as what it is made of; only where some weight is below 1.

    own: tokens of the geometry, which come first and see each other fully.  groups: the numbers of appended tokens that
    see each other fully, and tokens of no other group.  weights: (M,) float32 of the appended tokens, 0 to 1: how
    strongly each is seen by the geometry's own tokens, and sees them.
    """

    own: int
    groups: tuple[int, ...]
    weights: Tensor

    @classmethod
    def full(cls, own: int, tokens: int, device: torch.device | str | None = None) -> "AttentionWeights":
        """All of `tokens` see each other: those that are appended already are one group, whatever they are."""
        before = tokens - own
        return cls(own, (before,) if before else (), torch.ones(before, device=device))

    def grown(self, tokens: int, weights: Tensor | None = None) -> "AttentionWeights":
        """With `tokens` more as a group of their own, at `weights` (tokens,); None is 1."""
        new = self.weights.new_ones(tokens) if weights is None else weights.to(self.weights)
        return AttentionWeights(self.own, (*self.groups, tokens), torch.cat((self.weights, new)))

    def bias(self, dtype: torch.dtype) -> Tensor:
        """(1, 1, T, T) in `dtype`, to be added to the logits: log(weight), and the least number for 0."""
        weights, limits = self.weights.to(dtype), torch.finfo(dtype)
        logs = weights.clamp(min=limits.tiny).log().where(weights > 0, limits.min)
        own, tokens = self.own, self.own + len(weights)
        rows = -(-tokens // _ALIGNED) * _ALIGNED
        bias = torch.full((tokens, rows), limits.min, dtype=dtype, device=weights.device)[:, :tokens]
        bias[:own, :own] = 0
        bias[:own, own:] = logs
        bias[own:, :own] = logs[:, None]
        for group in self.groups:
            bias[own : own + group, own : own + group] = 0
            own += group
        return bias[None, None]
