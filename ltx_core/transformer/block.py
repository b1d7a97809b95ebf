"""One transformer block: self-attention, text attention, audio-video attention and feed-forward of both streams."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..kernels.activation import Activation
from ..kernels.norm import Norm, TokenVector, modulate, modulated_norm, residual, residual_norm
from .arrangement import IN_ORDER, Arrangement
from .attention import Attention, AttentionFunction
from .feed_forward import FeedForward
from .inputs import ModalityRope
from .modulation import BlockModulation, Modulation
from .params import TransformerParams
from .pass_sharing import BlockPlan


@dataclass(frozen=True)
class StreamConditioning:
    """What a modality's stream is modulated and conditioned by, the same in every block of one evaluation.

    modulation: 9 vectors (6 without text modulation), see `BlockModulation`.
    prompt: shift and scale of the text context, 2 vectors, or None.
    cross: scale, shift for audio-to-video, then for video-to-audio; cross_gate: the gate of what enters this stream.
    contexts: (C, S, D), one for each distinct prompt; bias: (1, 1, T, T) of self-attention's logits, or None.
    """

    modulation: Modulation
    prompt: Modulation | None
    cross: Modulation | None
    cross_gate: Modulation | None
    rope: ModalityRope
    contexts: Activation
    bias: Tensor | None = None


class _Layers(NamedTuple):
    """What one modality has of its own in a block."""

    self_attention: Attention
    text_attention: Attention
    feed_forward: FeedForward
    table: Tensor
    prompt_table: Tensor | None
    cross_table: Tensor


class AVTransformerBlock(nn.Module):
    """Streams (R, T, D) of video and audio through one block; R counts rows of the plan times batch."""

    def __init__(self, params: TransformerParams, *, attention: AttentionFunction, ops=nn, dtype=None, device=None):
        super().__init__()
        video, audio = params.video, params.audio
        factory = {"ops": ops, "dtype": dtype, "device": device}
        shared = {"gated": params.gated, "norm_eps": params.norm_eps, "attention": attention, **factory}
        self.eps = params.norm_eps
        self.attn1 = Attention(video.width, video.width, video.heads, video.head_dim, **shared)
        self.audio_attn1 = Attention(audio.width, audio.width, audio.heads, audio.head_dim, **shared)
        self.attn2 = Attention(video.width, video.context_dim, video.heads, video.head_dim, **shared)
        self.audio_attn2 = Attention(audio.width, audio.context_dim, audio.heads, audio.head_dim, **shared)
        self.audio_to_video_attn = Attention(video.width, audio.width, audio.heads, audio.head_dim, **shared)
        self.video_to_audio_attn = Attention(audio.width, video.width, audio.heads, audio.head_dim, **shared)
        self.ff = FeedForward(video.width, bias=video.feed_forward_bias, **factory)
        self.audio_ff = FeedForward(audio.width, bias=audio.feed_forward_bias, **factory)

        def table(count: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(count, width, dtype=dtype, device=device))

        count = 9 if params.text_adaln else 6
        self.scale_shift_table = table(count, video.width)
        self.audio_scale_shift_table = table(count, audio.width)
        self.prompt_scale_shift_table = table(2, video.width) if params.text_adaln else None
        self.audio_prompt_scale_shift_table = table(2, audio.width) if params.text_adaln else None
        self.scale_shift_table_a2v_ca_video = table(5, video.width)
        self.scale_shift_table_a2v_ca_audio = table(5, audio.width)

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        video_conditioning: StreamConditioning | None,
        audio_conditioning: StreamConditioning | None,
        plan: BlockPlan,
        arrangement: Arrangement = IN_ORDER,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Both streams after the block.  Those that go in are given away: kernels may write into their storage."""
        v, a = video_conditioning, audio_conditioning
        a2v, v2a = self.audio_to_video_attn, self.video_to_audio_attn
        crossing = v is not None and a is not None and plan.joined != ()
        to_video = to_audio = None
        if v is not None:
            video_layers = self._video_layers()
            video_modulation = BlockModulation.of(v.modulation, video_layers.table)
            video, query = self._self_attention(video, video_layers, video_modulation, v, plan, plan.video_bypass)
            cross = _cross_norms(v, video_layers.cross_table, a2v.to_q, v2a.to_k) if crossing else ()
            video, video_norms = self._text_attention(video, query, video_layers, video_modulation, cross, v, plan)
        with arrangement.audio():
            if a is not None:
                audio_layers = self._audio_layers()
                audio_modulation = BlockModulation.of(a.modulation, audio_layers.table)
                audio, query = self._self_attention(audio, audio_layers, audio_modulation, a, plan, plan.audio_bypass)
                cross = _cross_norms(a, audio_layers.cross_table, a2v.to_k, v2a.to_q) if crossing else ()
                audio, audio_norms = self._text_attention(audio, query, audio_layers, audio_modulation, cross, a, plan)
        if crossing:
            # Both sides' norms were taken before either stream is updated by the other.
            arrangement.exchange(*video_norms, *audio_norms)
            to_video = a2v(video_norms[0], audio_norms[0], rope=v.rope.cross, context_rope=a.rope.cross)
            with arrangement.audio():
                to_audio = v2a(audio_norms[1], video_norms[1], rope=a.rope.cross, context_rope=v.rope.cross)
        if v is not None:
            video = self._feed_forward(video, to_video, video_layers, video_modulation, v, arrangement)
        with arrangement.audio():
            if a is not None:
                audio = self._feed_forward(audio, to_audio, audio_layers, audio_modulation, a, arrangement)
        return video, audio

    def _video_layers(self) -> _Layers:
        return _Layers(
            self.attn1, self.attn2, self.ff,
            self.scale_shift_table, self.prompt_scale_shift_table, self.scale_shift_table_a2v_ca_video,
        )  # fmt: skip

    def _audio_layers(self) -> _Layers:
        return _Layers(
            self.audio_attn1, self.audio_attn2, self.audio_ff,
            self.audio_scale_shift_table, self.audio_prompt_scale_shift_table, self.scale_shift_table_a2v_ca_audio,
        )  # fmt: skip

    def _self_attention(
        self,
        x: Tensor,
        layers: _Layers,
        modulation: BlockModulation,
        conditioning: StreamConditioning,
        plan: BlockPlan,
        bypass: tuple[bool, ...],
    ) -> tuple[Tensor, Activation]:
        """The stream after self-attention, and its norm as the query of text attention."""
        x = _take(x, plan.split_self)
        attn, own, text = layers.self_attention, modulation.self_attention, modulation.text_attention
        normed = modulated_norm(x, Norm(own.shift, own.scale, reader=attn.to_q), self.eps)
        bypass = bypass if any(bypass) else ()
        update = attn(normed, rope=conditioning.rope.tokens, mask=conditioning.bias, bypass=bypass)
        norm = Norm(text and text.shift, text and text.scale, reader=layers.text_attention.to_q)
        x, (query,) = residual_norm(x, update, own.gate, (norm,), self.eps)
        return _take(x, plan.split_text), _take(query, plan.split_text)

    def _text_attention(
        self,
        x: Tensor,
        query: Activation,
        layers: _Layers,
        modulation: BlockModulation,
        cross: tuple[Norm, ...],
        conditioning: StreamConditioning,
        plan: BlockPlan,
    ) -> tuple[Tensor, list[Activation]]:
        """The stream after text attention, and the norms that audio-video attention takes of the rows that have it."""
        attn, context, gate = layers.text_attention, conditioning.contexts, None
        if modulation.text_attention is not None:
            gate = modulation.text_attention.gate
            shift, scale = conditioning.prompt.vectors(layers.prompt_table)
            context = modulate(context.tensor, Norm(shift, scale, reader=attn.to_k))
        update = attn.attend(query, *attn.keys_values(context), plan.contexts)
        x, norms = residual_norm(x, update, gate, cross, self.eps)
        return _take(x, plan.split_cross), [_take(norm, plan.joined_before) for norm in norms]

    def _feed_forward(
        self,
        x: Tensor,
        from_other: Tensor | None,
        layers: _Layers,
        modulation: BlockModulation,
        conditioning: StreamConditioning,
        arrangement: Arrangement,
    ) -> Tensor:
        """Adds what came from the other modality to the rows that have it, then the feed-forward network's output."""
        network, own = layers.feed_forward, modulation.feed_forward
        norm = Norm(own.shift, own.scale, reader=network.reader)
        gate = None if from_other is None else _cross_gate(conditioning, layers.cross_table)
        if from_other is not None and from_other.shape[0] == x.shape[0]:
            x, (query,) = residual_norm(x, from_other, gate, (norm,), self.eps)
        else:
            x = x if from_other is None else residual(x, from_other, gate)
            query = modulated_norm(x, norm, self.eps)
        return residual(x, arrangement.feed_forward(network, query), own.gate)


def _cross_norms(
    conditioning: StreamConditioning, table: Tensor, a2v_reader: nn.Module, v2a_reader: nn.Module
) -> tuple[Norm, Norm]:
    """A stream's norms for audio-to-video and for video-to-audio attention; the table has scales first."""
    a2v_scale, a2v_shift, v2a_scale, v2a_shift = conditioning.cross.vectors(table[:4])
    return Norm(a2v_shift, a2v_scale, a2v_reader), Norm(v2a_shift, v2a_scale, v2a_reader)


def _cross_gate(conditioning: StreamConditioning, table: Tensor) -> TokenVector:
    """The gate of what a stream gets from the other."""
    return conditioning.cross_gate.vectors(table[4:])[0]


def _take(x: Tensor | Activation, rows: tuple[int, ...] | None) -> Tensor | Activation:
    """The named rows of x, without a copy where they are its first ones; all of x when rows is None."""
    if rows is None:
        return x
    if isinstance(x, Activation):
        return x.select(rows)
    if rows == tuple(range(len(rows))):
        return x[: len(rows)]
    return torch.cat([x[row : row + 1] for row in rows])
