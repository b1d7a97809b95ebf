"""What LTX-2.5's diffusion decoder is made of; everything works on tokens with their channels last (B, T, H, W, C)."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..transformer.attention import AttentionFunction
from .diffusion_params import Extent, NeighborhoodStage, Upsampling
from .neighborhood import neighborhood_attention

_EPS = 1e-6
_THETA = 10000.0
# Tokens that pass the gated network at once: its hidden layer is four times as wide.
_TOKENS_AT_ONCE = 16384
# Scale and shift for attention, its gate, the same for the network, and a gate of the context.  All gates are part of
# the weights that follow them, see `ltx_core/diffusion_keys.py`.
_MODULATIONS = 7


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""

    def __init__(self, width: int, *, dtype=None, device=None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x), _EPS)


class NeighborhoodAttention(nn.Module):
    """Attention to the tokens around; queries and keys are normalised by head and rotated by their places."""

    def __init__(self, stage: NeighborhoodStage, head_dim: int, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.heads, self.kernel, self.attention = stage.channels // head_dim, stage.kernel, attention
        self.qkv = ops.Linear(stage.channels, 3 * stage.channels, **factory)
        self.proj = ops.Linear(stage.channels, stage.channels, **factory)
        self.q_norm = RMSNorm(head_dim, **factory)
        self.k_norm = RMSNorm(head_dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = rotate(self.q_norm(q)), rotate(self.k_norm(k))
        return self.proj(neighborhood_attention(q, k, v, self.kernel, self.attention).flatten(-2))


def rotate(x: Tensor) -> Tensor:
    """Rotates neighbouring channels of heads x (B, T, H, W, heads, D): the first quarter by the frame, half of the rest
    by the row and the other by the column, all counted from 0 in the grid at hand.

    Angles are float32, frequencies 10000^(-2i / d) with d the channels of an axis.
    """
    out, first = [], 0
    for axis, channels in zip((1, 2, 3), _channels_of_axes(x.shape[-1]), strict=True):
        exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
        frequencies = (1.0 / _THETA**exponents).to(device=x.device, dtype=torch.float32)
        angles = torch.arange(x.shape[axis], dtype=torch.float32, device=x.device)[:, None] * frequencies
        angles = angles.view(*(-1 if place == axis else 1 for place in range(5)), channels // 2)
        even, odd = x[..., first : first + channels].float().unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angles.cos(), angles.sin()
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
        out.append(turned.flatten(-2).to(x.dtype))
        first += channels
    return torch.cat(out, dim=-1)


def _channels_of_axes(head_dim: int) -> Extent:
    """Channels for frames, rows and columns, all even: about a quarter, and the rest in two."""
    frames = head_dim // 8 * 2
    side = (head_dim - frames) // 2
    return (frames, side, side) if side % 2 == 0 else (frames - 2, side + 1, side + 1)


class GatedNetwork(nn.Module):
    """w_down(silu(w_gate(x)) * w_up(x)), a number of tokens at a time."""

    def __init__(self, width: int, *, ops, dtype, device):
        super().__init__()
        factory = {"bias": False, "dtype": dtype, "device": device}
        hidden = -(-4 * width // 16) * 16
        self.w_up = ops.Linear(width, hidden, **factory)
        self.w_gate = ops.Linear(width, hidden, **factory)
        self.w_down = ops.Linear(hidden, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)
        out = torch.empty_like(tokens)
        for own, part in zip(out.split(_TOKENS_AT_ONCE), tokens.split(_TOKENS_AT_ONCE), strict=True):
            own.copy_(self.w_down(F.silu(self.w_gate(part)) * self.w_up(part)))
        return out.view(x.shape)


class NeighborhoodBlock(nn.Module):
    """Attention and network, each on the normalised tokens, as the stages have it that make the context."""

    def __init__(self, stage: NeighborhoodStage, head_dim: int, *, attention: AttentionFunction, ops, **factory):
        super().__init__()
        self.norm1 = RMSNorm(stage.channels, **factory)
        self.attn = NeighborhoodAttention(stage, head_dim, attention=attention, ops=ops, **factory)
        self.norm2 = RMSNorm(stage.channels, **factory)
        self.mlp = GatedNetwork(stage.channels, ops=ops, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DiffusionBlock(nn.Module):
    """The same, told of the context and modulated by the time of diffusion, as the final stage has it."""

    def __init__(
        self,
        stage: NeighborhoodStage,
        head_dim: int,
        *,
        attention: AttentionFunction,
        ops,
        dtype,
        device,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.context_proj = ops.Linear(stage.channels, stage.channels, **factory)
        self.scale_shift_table = nn.Parameter(torch.empty(_MODULATIONS, stage.channels, **factory))
        self.norm1 = RMSNorm(stage.channels, **factory)
        self.attn = NeighborhoodAttention(stage, head_dim, attention=attention, ops=ops, **factory)
        self.norm2 = RMSNorm(stage.channels, **factory)
        self.mlp = GatedNetwork(stage.channels, ops=ops, **factory)

    def forward(self, x: Tensor, context: Tensor, modulation: Tensor) -> Tensor:
        """x and context (B, T, H, W, C), modulation (7, C)."""
        scale, shift, _, mlp_scale, mlp_shift, *_ = modulation + self.scale_shift_table.to(modulation)
        x = x + self.context_proj(context)
        x = x + self.attn(self.norm1(x) * (1 + scale) + shift)
        return x + self.mlp(self.norm2(x) * (1 + mlp_scale) + mlp_shift)


class SharedModulation(nn.Module):
    """The time's embedding (width,) -> modulation (7, C), common to all blocks."""

    def __init__(self, channels: int, time_width: int, *, ops, dtype, device):
        super().__init__()
        self.proj = ops.Linear(time_width, _MODULATIONS * channels, dtype=dtype, device=device)

    def forward(self, embedded: Tensor) -> Tensor:
        return self.proj(F.silu(embedded)).view(_MODULATIONS, -1)


class PixelShuffle(nn.Module):
    """Tokens (B, T, H, W, C) -> (B, T*p, H*q, W*r, C / reduction); one frame less where frames double from the video's
    first one on, which stands for itself alone."""

    def __init__(self, channels: int, upsampling: Upsampling, *, ops, dtype, device):
        super().__init__()
        p, q, r = self.stride = upsampling.stride
        self.proj = ops.Linear(channels, p * q * r * (channels // upsampling.reduction), dtype=dtype, device=device)

    def forward(self, x: Tensor, begins: bool = True) -> Tensor:
        """`begins`: x holds the video's first frame."""
        p, q, r = self.stride
        x = rearrange(self.proj(x), "b t h w (c p q r) -> b (t p) (h q) (w r) c", p=p, q=q, r=r)
        return x[:, p - 1 :] if begins else x
