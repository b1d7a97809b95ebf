"""Gemma-4 language model ("unified" form, without encoders), for its hidden states only: no cache, no logits.

Beside Gemma-3: norms multiply by their weight alone; queries are not scaled before the softmax; values are normalised
too, and in global layers they are the raw keys; global layers have wider heads, most of whose channels do not turn;
each layer's output is multiplied by a number of its own.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.rotary import Rotation, apply_rotary
from ..progress import SILENT, Reporter
from ..transformer.attention import AttentionFunction, scaled_dot_product
from .gemma import GemmaMLP, causal_mask, gemma_rope, scaled_embeddings
from .gemma4_params import Gemma4Heads, Gemma4Params


class Gemma4RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight * scale over the last dimension, in float32."""

    def __init__(self, width: int, *, eps: float, scale: float = 1.0, dtype=None, device=None):
        super().__init__()
        self.eps, self.scale = eps, scale
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        full = x.float()
        return F.rms_norm(full, (full.shape[-1],), self.weight.to(full) * self.scale, self.eps).to(x.dtype)


class Gemma4Attention(nn.Module):
    """Grouped-query causal attention with normalised queries, keys and values; x (B, T, hidden) -> (B, T, hidden)."""

    def __init__(self, params: Gemma4Params, kind: Gemma4Heads, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        inner, kv_inner = params.heads * kind.head_dim, kind.kv_heads * kind.head_dim
        self.head_dim = kind.head_dim
        self.groups = params.heads // kind.kv_heads
        self.eps = params.norm_eps
        self.attention = attention
        self.q_proj = ops.Linear(params.hidden_size, inner, bias=False, **factory)
        self.k_proj = ops.Linear(params.hidden_size, kv_inner, bias=False, **factory)
        own = not kind.keys_are_values
        self.v_proj = ops.Linear(params.hidden_size, kv_inner, bias=False, **factory) if own else None
        self.o_proj = ops.Linear(inner, params.hidden_size, bias=False, **factory)
        # The attention function divides by sqrt(head_dim), Gemma-4 by nothing.
        self.q_norm = Gemma4RMSNorm(kind.head_dim, eps=params.norm_eps, scale=kind.head_dim**0.5, **factory)
        self.k_norm = Gemma4RMSNorm(kind.head_dim, eps=params.norm_eps, **factory)

    def forward(self, x: Tensor, rope: Rotation, mask: Tensor | None) -> Tensor:
        q = apply_rotary(self.q_norm(self._split(self.q_proj(x))), rope)
        keys = self._split(self.k_proj(x))
        values = keys if self.v_proj is None else self._split(self.v_proj(x))
        k = apply_rotary(self.k_norm(keys), rope)
        v = F.rms_norm(values.float(), (self.head_dim,), None, self.eps).to(values.dtype)
        # Spelled out, as not every attention function shares key/value heads between query heads.
        k, v = (t.repeat_interleave(self.groups, dim=1) for t in (k, v))
        return self.o_proj(self.attention(q, k, v, mask).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class Gemma4Layer(nn.Module):
    """Attention and network, each normalised before and after; the sum times `layer_scalar`."""

    def __init__(self, params: Gemma4Params, kind: Gemma4Heads, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.self_attn = Gemma4Attention(params, kind, attention=attention, ops=ops, **factory)
        self.mlp = GemmaMLP(params.hidden_size, params.intermediate_size, ops=ops, **factory)
        self.input_layernorm = Gemma4RMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.post_attention_layernorm = Gemma4RMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.pre_feedforward_layernorm = Gemma4RMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.post_feedforward_layernorm = Gemma4RMSNorm(params.hidden_size, eps=params.norm_eps, **factory)
        self.layer_scalar = nn.Parameter(torch.empty(1, **factory))

    def forward(self, x: Tensor, rope: Rotation, mask: Tensor | None) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), rope, mask))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        return x * self.layer_scalar.to(x)


class Gemma4Model(nn.Module):
    """The language model without its output head; tensor names as in the files without the `model.` prefix.

    `compute_dtype` is the dtype of the activations where it is not the one that embeddings are stored in.
    """

    def __init__(
        self,
        params: Gemma4Params,
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
        kinds = [params.local_heads if sliding else params.global_heads for sliding in params.sliding]
        self.layers = nn.ModuleList(
            Gemma4Layer(params, kind, attention=attention, ops=ops, **factory) for kind in kinds
        )
        self.norm = Gemma4RMSNorm(params.hidden_size, eps=params.norm_eps, **factory)

    def forward(self, ids: Tensor, reporter: Reporter = SILENT, first_position: int = 0) -> list[Tensor]:
        """ids (B, T) int64, without padding -> layers + 1 hidden states (B, T, hidden), see `GemmaModel.forward`."""
        x = scaled_embeddings(self.embed_tokens(ids), self.compute_dtype)
        params, tokens = self.params, ids.shape[1]
        positions = torch.arange(first_position, first_position + tokens, dtype=torch.float32, device=x.device)
        local, whole = (
            (gemma_rope(kind.rope, positions, kind.head_dim), causal_mask(tokens, window, x))
            for kind, window in ((params.local_heads, params.sliding_window), (params.global_heads, None))
        )
        states = [x]
        for layer, sliding in zip(self.layers, params.sliding, strict=True):
            reporter.check_cancel()
            x = layer(x, *(local if sliding else whole))
            states.append(x)
        states[-1] = self.norm(x)
        return states
