"""One transformer block: self-attention, text attention, audio-video attention and feed-forward of both streams."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..kernels.dispatch import fused
from ..kernels.fp8 import first_entries, takes_rows
from ..kernels.norm import PLAIN, Norm, TokenRow, modulated_norm, residual_norm
from .attention import Attention, AttentionFunction
from .feed_forward import FeedForward
from .inputs import ModalityRope
from .modulation import Modulation
from .params import TransformerParams
from .plan import BlockPlan


@dataclass(frozen=True)
class StreamConditioning:
    """What a modality's stream is modulated and conditioned by, the same in every block of one evaluation.

    modulation: 9 rows (6 without text modulation): shift, scale, gate of self-attention, feed-forward, text attention.
    prompt: shift and scale of the text context, 2 rows (N, 2, D), or None.
    cross: scale, shift for audio-to-video, then for video-to-audio; cross_gate: the gate of what enters this stream.
    contexts: (C, S, D), one for each distinct prompt.
    """

    modulation: Modulation
    prompt: Tensor | None
    cross: Modulation | None
    cross_gate: Modulation | None
    rope: ModalityRope
    contexts: Tensor


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
        self.ff = FeedForward(video.width, **factory)
        self.audio_ff = FeedForward(audio.width, **factory)

        def table(rows: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, width, dtype=dtype, device=device))

        rows = 9 if params.text_adaln else 6
        self.scale_shift_table = table(rows, video.width)
        self.audio_scale_shift_table = table(rows, audio.width)
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
    ) -> tuple[Tensor | None, Tensor | None]:
        v, a = video_conditioning, audio_conditioning
        video, audio = _take(video, plan.split_self), _take(audio, plan.split_self)
        video_query = audio_query = None
        if v is not None:
            video, video_query = self._self_attention(video, self.attn1, self.scale_shift_table, v, plan.video_bypass)
        if a is not None:
            table = self.audio_scale_shift_table
            audio, audio_query = self._self_attention(audio, self.audio_attn1, table, a, plan.audio_bypass)
        video, video_query = _take(video, plan.split_text), _take(video_query, plan.split_text)
        audio, audio_query = _take(audio, plan.split_text), _take(audio_query, plan.split_text)

        crossing = v is not None and a is not None and plan.joined != ()
        video_norms = audio_norms = ()
        if v is not None:
            tables = (self.scale_shift_table, self.prompt_scale_shift_table)
            cross = _cross_norms(v, self.scale_shift_table_a2v_ca_video) if crossing else ()
            video, video_norms = self._text_attention(video, video_query, self.attn2, tables, v, plan.contexts, cross)
        if a is not None:
            tables = (self.audio_scale_shift_table, self.audio_prompt_scale_shift_table)
            cross = _cross_norms(a, self.scale_shift_table_a2v_ca_audio) if crossing else ()
            audio, audio_norms = self._text_attention(
                audio, audio_query, self.audio_attn2, tables, a, plan.contexts, cross
            )
        video, audio = _take(video, plan.split_cross), _take(audio, plan.split_cross)
        to_video = to_audio = None
        if crossing:
            norms = [_take(_take(n, plan.split_cross), plan.joined) for n in (*video_norms, *audio_norms)]
            to_video, to_audio = self._cross_attention(*norms, v, a)
        if v is not None:
            gate = v.cross_gate and v.cross_gate.rows(self.scale_shift_table_a2v_ca_video[4:], 0, 1)[0]
            video = self._feed_forward(video, to_video, gate, plan.joined, self.ff, self.scale_shift_table, v)
        if a is not None:
            gate = a.cross_gate and a.cross_gate.rows(self.scale_shift_table_a2v_ca_audio[4:], 0, 1)[0]
            table = self.audio_scale_shift_table
            audio = self._feed_forward(audio, to_audio, gate, plan.joined, self.audio_ff, table, a)
        return video, audio

    def _self_attention(self, x, attn: Attention, table, conditioning: StreamConditioning, bypass):
        """The stream after self-attention, and its norm as the query of text attention."""
        shift, scale, gate = conditioning.modulation.rows(table, 0, 3)
        bypass = bypass if any(bypass) else ()
        fp8 = takes_rows(attn.to_q, x)
        normed = modulated_norm(x, (shift, scale), self.eps, fp8_rows=fp8)
        update = attn(normed, rope=conditioning.rope.tokens, bypass=bypass)
        query = PLAIN if conditioning.prompt is None else conditioning.modulation.rows(table, 6, 8)
        x, (query,) = residual_norm(x, update, gate, (query,), self.eps, fp8_rows=fp8)
        return x, query

    def _text_attention(self, x, query, attn: Attention, tables, conditioning: StreamConditioning, contexts, cross):
        """The stream after text attention, and the two norms that audio-video attention takes (none without it).

        Both are taken here, before either stream is updated by the other.
        """
        table, prompt_table = tables
        context, gate = conditioning.contexts, None
        if conditioning.prompt is not None:
            shift, scale = (prompt_table.to(x) + conditioning.prompt)[:, :, None].unbind(1)
            context = context * (1 + scale) + shift
            gate = conditioning.modulation.rows(table, 8, 9)[0]
        update = attn.attend(query, *attn.keys_values(context), contexts)
        return residual_norm(x, update, gate, cross, self.eps, fp8_rows=takes_rows(attn.to_q, x))

    def _cross_attention(
        self, video_a2v, video_v2a, audio_a2v, audio_v2a, v: StreamConditioning, a: StreamConditioning
    ):
        """What audio adds to video and video to audio."""
        to_video = self.audio_to_video_attn(video_a2v, audio_a2v, rope=v.rope.cross, context_rope=a.rope.cross)
        to_audio = self.video_to_audio_attn(audio_v2a, video_v2a, rope=a.rope.cross, context_rope=v.rope.cross)
        return to_video, to_audio

    def _feed_forward(self, x, update, update_gate, rows, ff: FeedForward, table, conditioning) -> Tensor:
        """Adds what came from the other modality to its rows, then the feed-forward network's output."""
        shift, scale, gate = conditioning.modulation.rows(table, 3, 6)
        fp8 = takes_rows(ff.net[0].proj, x)
        if update is not None and rows is None:
            x, (query,) = residual_norm(x, update, update_gate, ((shift, scale),), self.eps, fp8_rows=fp8)
        else:
            x = x if update is None else _add_rows(x, update, update_gate, rows, self.eps)
            query = modulated_norm(x, (shift, scale), self.eps, fp8_rows=fp8)
        return residual_norm(x, ff(query), gate, (), self.eps)[0]


def _cross_norms(conditioning: StreamConditioning, table: Tensor) -> tuple[Norm, Norm]:
    """(shift, scale) of a stream in audio-to-video and in video-to-audio attention; the table has scales first."""
    a2v_scale, a2v_shift, v2a_scale, v2a_shift = conditioning.cross.rows(table, 0, 4)
    return (a2v_shift, a2v_scale), (v2a_shift, v2a_scale)


def _take(x: Tensor | None, rows: tuple[int, ...] | None) -> Tensor | None:
    """The named rows of x, without a copy where they are its first ones; all of x when rows is None."""
    if x is None or rows is None:
        return x
    return (
        first_entries(x, len(rows))
        if rows == tuple(range(len(rows)))
        else torch.cat([x[row : row + 1] for row in rows])
    )


def _add_rows(x: Tensor, update: Tensor, gate: TokenRow, rows: tuple[int, ...], eps: float) -> Tensor:
    """x with the gated update added to its first rows, which the plan has made the ones with audio-video attention."""
    count = len(rows)
    changed, _ = residual_norm(x[:count], update, gate, (), eps)
    return x if fused(x) else torch.cat((changed, x[count:]))
