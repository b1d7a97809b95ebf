"""Embeddings connector: text features and learnable registers, mixed by a small transformer, become the context."""

import torch
from torch import Tensor, nn

from ..kernels.norm import rms_norm
from ..kernels.rotary import RotaryTable
from ..transformer.attention import Attention, AttentionFunction, scaled_dot_product
from ..transformer.feed_forward import FeedForward
from ..transformer.rope import rotary_table
from .params import ConnectorParams


class ConnectorBlock(nn.Module):
    """Self-attention and feed-forward network, each on the normalised stream."""

    def __init__(self, params: ConnectorParams, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        self.norm_eps = params.norm_eps
        self.attn1 = Attention(
            params.width,
            params.width,
            params.heads,
            params.head_dim,
            gated=params.gated,
            norm_eps=params.norm_eps,
            attention=attention,
            ops=ops,
            dtype=dtype,
            device=device,
        )
        self.ff = FeedForward(params.width, bias=params.feed_forward_bias, ops=ops, dtype=dtype, device=device)

    def forward(self, x: Tensor, rope: RotaryTable) -> Tensor:
        x = x + self.attn1(rms_norm(x, self.norm_eps), rope=rope)
        return x + self.ff(rms_norm(x, self.norm_eps))


class EmbeddingsConnector(nn.Module):
    """The vendor's `Embeddings1DConnector` for one modality.

    Real tokens stand at the front; every later place takes the register of its own position (modulo their number).
    After that all places are equal: there is no attention mask, here or in the video transformer.
    """

    def __init__(
        self,
        params: ConnectorParams,
        *,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        self.learnable_registers = nn.Parameter(torch.empty(params.registers, params.width, **factory))
        self.transformer_1d_blocks = nn.ModuleList(
            ConnectorBlock(params, attention=attention, ops=ops, **factory) for _ in range(params.layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of real tokens (B, T, width) -> context (B, S, width), S = `context_length` or more."""
        params = self.params
        batch, tokens, _ = features.shape
        copies = -(-max(tokens, params.context_length) // params.registers)
        registers = self.learnable_registers.to(features).repeat(copies, 1)[tokens:]
        x = torch.cat((features, registers.expand(batch, -1, -1)), dim=1)
        return self.mix(x, self.rope(x.shape[1], x.device))

    def rope(self, places: int, device: torch.device | str | None = None) -> RotaryTable:
        """The rotary table of that many places."""
        params = self.params
        return rotary_table(
            torch.arange(places, dtype=torch.float32, device=device)[None],
            (params.max_position,),
            params.width,
            params.heads,
            params.rope_theta,
            float64=params.frequencies_float64,
        )

    def mix(self, x: Tensor, rope: RotaryTable) -> Tensor:
        """Features and registers in their places (B, S, width) -> context (B, S, width)."""
        for block in self.transformer_1d_blocks:
            x = block(x, rope)
        return rms_norm(x, self.params.norm_eps)
