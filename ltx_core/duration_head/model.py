"""The duration head: a few learned queries gather the text contexts, a small network makes seconds of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import LTXError
from ..transformer.attention import AttentionFunction, scaled_dot_product
from .params import DurationHeadParams


class _CrossAttention(nn.Module):
    """Attention of queries (B, Q, D) over tokens (B, T, D), with the projections of all three in one tensor."""

    def __init__(self, width: int, heads: int, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.heads, self.attention = heads, attention
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width, **factory))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width, **factory))
        self.out_proj = ops.Linear(width, width, **factory)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        projections = zip(self.in_proj_weight.to(tokens).chunk(3), self.in_proj_bias.to(tokens).chunk(3), strict=True)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((queries, tokens, tokens), projections, strict=True)
        )
        return self.out_proj(self.attention(q, k, v, None).transpose(1, 2).flatten(2))


class _Pooler(nn.Module):
    """Tokens (B, T, D) -> (B, Q, D), whatever T is."""

    def __init__(self, params: DurationHeadParams, *, attention: AttentionFunction, ops, dtype, device):
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(params.queries, params.width, dtype=dtype, device=device))
        self.cross_attn = _CrossAttention(
            params.width, params.heads, attention=attention, ops=ops, dtype=dtype, device=device
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.cross_attn(self.query_tokens.to(tokens).expand(tokens.shape[0], -1, -1), tokens)


class DurationHead(nn.Module):
    """The vendor's `DurationHead`; parameter names are those of the official files below `duration_head.`.

    Contexts come from the connectors and have no mask: places without text hold registers.
    """

    def __init__(
        self,
        params: DurationHeadParams,
        *,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.params = params
        self.video_input_proj = ops.Linear(params.video_width, params.width, **factory)
        self.video_modality_emb = nn.Parameter(torch.empty(params.width, **factory))
        self.audio_input_proj = ops.Linear(params.audio_width, params.width, **factory)
        self.audio_modality_emb = nn.Parameter(torch.empty(params.width, **factory))
        self.attention_pooler = _Pooler(params, attention=attention, ops=ops, **factory)
        self.mlp_hidden = ops.Linear(params.width * params.queries, params.hidden_width, **factory)
        self.mlp_out = ops.Linear(params.hidden_width, 1, **factory)

    def forward(self, video: Tensor | None, audio: Tensor | None) -> Tensor:
        """Contexts of video (B, S, Dv) and audio (B, S, Da), or one of them -> seconds (B,), in the head's dtype."""
        if video is None and audio is None:
            raise LTXError("The duration head got no context; give that of video, of audio, or both.")
        dtype = self.video_modality_emb.dtype
        groups = []
        if video is not None:
            groups.append(self.video_input_proj(video.to(dtype)) + self.video_modality_emb.to(video.device))
        if audio is not None:
            groups.append(self.audio_input_proj(audio.to(dtype)) + self.audio_modality_emb.to(audio.device))
        pooled = self.attention_pooler(torch.cat(groups, dim=1)).flatten(1)
        hidden = F.gelu(self.mlp_hidden(pooled), approximate="tanh")
        return self.mlp_out(hidden).squeeze(-1).exp()
