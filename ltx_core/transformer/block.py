"""One transformer block: self-attention, text attention, audio-video attention and feed-forward of both streams."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..kernels.dispatch import fused
from ..kernels.fp8 import first_entries, takes_rows
from ..kernels.norm import PLAIN, Norm, TokenRow, modulate, modulated_norm, residual_norm
from .attention import Attention, AttentionFunction
from .feed_forward import FeedForward
from .inputs import ModalityRope
from .lanes import ONE_LANE, OneLane
from .modulation import Modulation
from .params import TransformerParams
from .plan import BlockPlan


@dataclass(frozen=True)
class StreamConditioning:
    """What a modality's stream is modulated and conditioned by, the same in every block of one evaluation.

    modulation: 9 rows (6 without text modulation): shift, scale, gate of self-attention, feed-forward, text attention.
    prompt: shift and scale of the text context, 2 rows, or None.
    cross: scale, shift for audio-to-video, then for video-to-audio; cross_gate: the gate of what enters this stream.
    contexts: (C, S, D), one for each distinct prompt.
    """

    modulation: Modulation
    prompt: Modulation | None
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
        lanes: OneLane = ONE_LANE,
    ) -> tuple[Tensor | None, Tensor | None]:
        v, a = video_conditioning, audio_conditioning
        crossing = v is not None and a is not None and plan.joined != ()
        to_video = to_audio = None
        if v is not None:
            tables = (self.prompt_scale_shift_table, self.scale_shift_table_a2v_ca_video if crossing else None)
            rows = v.modulation.rows(self.scale_shift_table)
            video, query = self._self_attention(video, self.attn1, rows, v, plan, plan.video_bypass)
            video, video_norms = self._text_attention(video, query, self.attn2, rows, tables, v, plan)
        with lanes.audio():
            if a is not None:
                tables = (
                    self.audio_prompt_scale_shift_table,
                    self.scale_shift_table_a2v_ca_audio if crossing else None,
                )
                audio_rows = a.modulation.rows(self.audio_scale_shift_table)
                audio, query = self._self_attention(audio, self.audio_attn1, audio_rows, a, plan, plan.audio_bypass)
                audio, audio_norms = self._text_attention(audio, query, self.audio_attn2, audio_rows, tables, a, plan)
        if crossing:
            # Both sides' norms were taken before either stream is updated by the other.
            lanes.exchange(*video_norms, *audio_norms)
            ropes = {"rope": v.rope.cross, "context_rope": a.rope.cross}
            to_video = self.audio_to_video_attn(video_norms[0], audio_norms[0], **ropes)
            with lanes.audio():
                ropes = {"rope": a.rope.cross, "context_rope": v.rope.cross}
                to_audio = self.video_to_audio_attn(audio_norms[1], video_norms[1], **ropes)
        if v is not None:
            gate = v.cross_gate and v.cross_gate.rows(self.scale_shift_table_a2v_ca_video[4:])[0]
            video = self._feed_forward(video, to_video, gate, plan.joined, self.ff, rows)
        with lanes.audio():
            if a is not None:
                gate = a.cross_gate and a.cross_gate.rows(self.scale_shift_table_a2v_ca_audio[4:])[0]
                audio = self._feed_forward(audio, to_audio, gate, plan.joined, self.audio_ff, audio_rows)
        return video, audio

    def _self_attention(self, x, attn: Attention, rows, conditioning: StreamConditioning, plan: BlockPlan, bypass):
        """The stream after self-attention, and its norm as the query of text attention."""
        x = _take(x, plan.split_self)
        bypass = bypass if any(bypass) else ()
        fp8 = takes_rows(attn.to_q, x)
        normed = modulated_norm(x, rows[:2], self.eps, fp8_rows=fp8)
        update = attn(normed, rope=conditioning.rope.tokens, bypass=bypass)
        query = PLAIN if conditioning.prompt is None else rows[6:8]
        x, (query,) = residual_norm(x, update, rows[2], (query,), self.eps, fp8_rows=fp8)
        return _take(x, plan.split_text), _take(query, plan.split_text)

    def _text_attention(
        self, x, query, attn: Attention, rows, tables, conditioning: StreamConditioning, plan: BlockPlan
    ):
        """The stream after text attention, and the norms that audio-video attention takes of the rows that have it."""
        prompt_table, cross_table = tables
        context, gate = conditioning.contexts, None
        if conditioning.prompt is not None:
            fp8 = takes_rows(attn.to_k, context)
            context = modulate(context, conditioning.prompt.rows(prompt_table), fp8_rows=fp8)
            gate = rows[8]
        update = attn.attend(query, *attn.keys_values(context), plan.contexts)
        cross = () if cross_table is None else _cross_norms(conditioning, cross_table)
        x, norms = residual_norm(x, update, gate, cross, self.eps, fp8_rows=takes_rows(attn.to_q, x))
        return _take(x, plan.split_cross), [_take(_take(norm, plan.split_cross), plan.joined) for norm in norms]

    def _feed_forward(self, x, update, update_gate, joined, ff: FeedForward, rows) -> Tensor:
        """Adds what came from the other modality to its rows, then the feed-forward network's output."""
        shift, scale, gate = rows[3:6]
        fp8 = takes_rows(ff.net[0].proj, x)
        if update is not None and joined is None:
            x, (query,) = residual_norm(x, update, update_gate, ((shift, scale),), self.eps, fp8_rows=fp8)
        else:
            x = x if update is None else _add_rows(x, update, update_gate, joined, self.eps)
            query = modulated_norm(x, (shift, scale), self.eps, fp8_rows=fp8)
        return residual_norm(x, ff(query), gate, (), self.eps)[0]


def _cross_norms(conditioning: StreamConditioning, table: Tensor) -> tuple[Norm, Norm]:
    """(shift, scale) of a stream in audio-to-video and in video-to-audio attention; the table has scales first."""
    a2v_scale, a2v_shift, v2a_scale, v2a_shift = conditioning.cross.rows(table[:4])
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
