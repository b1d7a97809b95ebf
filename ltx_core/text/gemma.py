"""Gemma-3 language model, for its hidden states only: no cache, no logits.

A prompt is run as it is, without the padding that the vendor's encoder adds on the left: attention is causal and rotary
positions are relative, so padding changes nothing for the real tokens (but see `first_position`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.rotary import Rotation, apply_rotary
from ..progress import SILENT, Reporter
from ..transformer.attention import AttentionFunction, scaled_dot_product
from .gemma_params import GemmaParams, GemmaRope


class GemmaRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * (1 + weight) over the last dimension, in float32."""

    def __init__(self, width: int, *, eps: float, dtype=None, device=None):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        full = x.float()
        return F.rms_norm(full, (full.shape[-1],), 1 + self.weight.to(full), self.eps).to(x.dtype)


class GemmaAttention(nn.Module):
    """Grouped-query causal attention with normalised heads; x (B, T, hidden) -> (B, T, hidden)."""

    def __init__(self, params: GemmaParams, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner, kv_inner = params.heads * params.head_dim, params.kv_heads * params.head_dim
        self.head_dim = params.head_dim
        self.groups = params.heads // params.kv_heads
        # The attention function divides by sqrt(head_dim); Gemma by sqrt(query_pre_attn_scalar), mostly the same.
        self.query_scale = (params.head_dim / params.query_pre_attn_scalar) ** 0.5
        self.attention = attention
        self.q_proj = ops.Linear(params.hidden_size, inner, bias=False, **factory)
        self.k_proj = ops.Linear(params.hidden_size, kv_inner, bias=False, **factory)
        self.v_proj = ops.Linear(params.hidden_size, kv_inner, bias=False, **factory)
        self.o_proj = ops.Linear(inner, params.hidden_size, bias=False, **factory)
        self.q_norm = GemmaRMSNorm(params.head_dim, eps=params.norm_eps, **factory)
        self.k_norm = GemmaRMSNorm(params.head_dim, eps=params.norm_eps, **factory)

    def forward(self, x: Tensor, rope: Rotation, mask: Tensor | None) -> Tensor:
        q = apply_rotary(self.q_norm(self._split(self.q_proj(x))), rope)
        k = apply_rotary(self.k_norm(self._split(self.k_proj(x))), rope)
        v = self._split(self.v_proj(x))
        if self.query_scale != 1:
            q = q * self.query_scale
        # Spelled out, as not every attention function shares key/value heads between query heads.
        k, v = (t.repeat_interleave(self.groups, dim=1) for t in (k, v))
        return self.o_proj(self.attention(q, k, v, mask).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class GemmaMLP(nn.Module):
    """GELU-gated network (tanh form of GELU)."""

    def __init__(self, hidden_size: int, intermediate_size: int, *, ops, dtype, device):
        super().__init__()
        factory = {"bias": False, "dtype": dtype, "device": device}
        self.gate_proj = ops.Linear(hidden_size, intermediate_size, **factory)
        self.up_proj = ops.Linear(hidden_size, intermediate_size, **factory)
        self.down_proj = ops.Linear(intermediate_size, hidden_size, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class GemmaLayer(nn.Module):
    """Attention and network, each normalised before and after."""

    def __init__(self, params: GemmaParams, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.self_attn = GemmaAttention(params, attention=attention, ops=ops, **factory)
        self.mlp = GemmaMLP(params.hidden_size, params.intermediate_size, ops=ops, **factory)
        self.input_layernorm = GemmaRMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.post_attention_layernorm = GemmaRMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.pre_feedforward_layernorm = GemmaRMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.post_feedforward_layernorm = GemmaRMSNorm(params.hidden_size, eps=params.norm_eps, **factory)

    def forward(self, x: Tensor, rope: Rotation, mask: Tensor | None) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), rope, mask))
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class GemmaModel(nn.Module):
    """The language model without its output head; tensor names as in the files without the `model.` prefix.

    `compute_dtype` is the dtype of the activations where it is not the one that embeddings are stored in.
    """

    def __init__(
        self,
        params: GemmaParams,
        *,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype=None,
        device=None,
        compute_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.params = params
        self.compute_dtype = compute_dtype
        self.embed_tokens = ops.Embedding(params.vocab_size, params.hidden_size, **factory)
        self.layers = nn.ModuleList(
            GemmaLayer(params, attention=attention, ops=ops, **factory) for _ in range(params.layers)
        )
        self.norm = GemmaRMSNorm(params.hidden_size, eps=params.norm_eps, **factory)

    def forward(self, ids: Tensor, reporter: Reporter = SILENT, first_position: int = 0) -> list[Tensor]:
        """ids (B, T) int64, without padding -> layers + 1 hidden states (B, T, hidden).

        The first state is the scaled embeddings, the last has the final norm; those between are raw layer outputs.
        Only distances between positions matter, but their rounding depends on where they begin: `first_position` sets
        them where a padded reference has them.
        """
        x = scaled_embeddings(self.embed_tokens(ids), self.compute_dtype)
        tokens = ids.shape[1]
        positions = torch.arange(first_position, first_position + tokens, dtype=torch.float32, device=x.device)
        global_rope = gemma_rope(self.params.global_rope, positions, self.params.head_dim)
        local_rope = gemma_rope(self.params.local_rope, positions, self.params.head_dim)
        global_mask = causal_mask(tokens, None, x)
        local_mask = causal_mask(tokens, self.params.sliding_window, x)
        states = [x]
        for layer, sliding in zip(self.layers, self.params.sliding, strict=True):
            reporter.check_cancel()
            x = layer(x, local_rope, local_mask) if sliding else layer(x, global_rope, global_mask)
            states.append(x)
        states[-1] = self.norm(x)
        return states


def scaled_embeddings(embeddings: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Embeddings (B, T, hidden) times sqrt(hidden), in `dtype` or else their own."""
    x = embeddings.to(dtype or embeddings.dtype)
    # Rounded to the activations' dtype as in the reference: 62.0, not 61.97, for the 12B model in bfloat16.
    return x * torch.tensor(x.shape[-1] ** 0.5, dtype=x.dtype).item()


def gemma_rope(rope: GemmaRope, positions: Tensor, head_dim: int) -> Rotation:
    """Table (1, 1, T, head_dim/2) float32: the angle at position p is p / (factor * theta^(2k / head_dim)), and 0 for
    channels that do not turn.

    In float32 throughout: angles reach a thousand radians, where other rounding than the reference's would show.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    frequencies = 1.0 / rope.theta**exponents / rope.factor
    frequencies[int(rope.turned * head_dim // 2) :] = 0
    angles = positions[:, None] * frequencies
    return Rotation(angles.cos()[None, None], angles.sin()[None, None])


def causal_mask(tokens: int, window: int | None, like: Tensor) -> Tensor | None:
    """Additive mask (1, 1, T, T) in `like`'s dtype and device, None for a single token.

    A token sees itself and what is before it, with a `window` only its last `window` tokens, its own included.
    """
    if tokens == 1:
        return None
    position = torch.arange(tokens, device=like.device)
    distance = position[:, None] - position
    hidden = distance < 0
    if window is not None:
        hidden = hidden | (distance >= window)
    # The lowest finite number rather than -inf, which some attention functions turn into NaN.
    mask = torch.zeros(tokens, tokens, dtype=like.dtype, device=like.device)
    return mask.masked_fill(hidden, torch.finfo(like.dtype).min)[None, None]
