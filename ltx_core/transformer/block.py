"""One transformer block: self-attention, text attention, audio-video attention and feed-forward of both streams."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .attention import Attention, AttentionFunction
from .feed_forward import FeedForward
from .inputs import ModalityRope
from .modulation import Modulation, modulated_norm, rms_norm
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
    cross_gate: Tensor | None
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
        if v is not None:
            table = self.scale_shift_table
            video = self._self_attention(video, self.attn1, table, v, plan.video_bypass)
            video = _take(video, plan.split_text)
            prompt_table = self.prompt_scale_shift_table
            video = self._text_attention(video, self.attn2, table, prompt_table, v, plan.contexts)
        if a is not None:
            table = self.audio_scale_shift_table
            audio = self._self_attention(audio, self.audio_attn1, table, a, plan.audio_bypass)
            audio = _take(audio, plan.split_text)
            prompt_table = self.audio_prompt_scale_shift_table
            audio = self._text_attention(audio, self.audio_attn2, table, prompt_table, a, plan.contexts)
        video, audio = _take(video, plan.split_cross), _take(audio, plan.split_cross)
        if v is not None and a is not None and plan.joined != ():
            video, audio = self._cross_attention(video, audio, v, a, plan.joined)
        if v is not None:
            video = self._feed_forward(video, self.ff, self.scale_shift_table, v)
        if a is not None:
            audio = self._feed_forward(audio, self.audio_ff, self.audio_scale_shift_table, a)
        return video, audio

    def _self_attention(self, x, attn: Attention, table, conditioning: StreamConditioning, bypass) -> Tensor:
        shift, scale, gate = conditioning.modulation.rows(table, 0, 3)
        rope = conditioning.rope.tokens
        bypass = bypass if any(bypass) else ()
        return x + attn(modulated_norm(x, shift, scale, self.eps), rope=rope, bypass=bypass) * gate

    def _text_attention(self, x, attn: Attention, table, prompt_table, conditioning, contexts) -> Tensor:
        context = conditioning.contexts
        if conditioning.prompt is None:
            k, v = attn.keys_values(context)
            return x + attn.attend(rms_norm(x, self.eps), _take(k, contexts), _take(v, contexts))
        context_shift, context_scale = (prompt_table.to(x) + conditioning.prompt)[:, :, None].unbind(1)
        k, v = attn.keys_values(context * (1 + context_scale) + context_shift)
        shift, scale, gate = conditioning.modulation.rows(table, 6, 9)
        query = modulated_norm(x, shift, scale, self.eps)
        return x + attn.attend(query, _take(k, contexts), _take(v, contexts)) * gate

    def _cross_attention(self, video, audio, v: StreamConditioning, a: StreamConditioning, joined):
        """Audio to video and video to audio, both from the streams as they were before either was updated."""
        video_table, audio_table = self.scale_shift_table_a2v_ca_video, self.scale_shift_table_a2v_ca_audio
        video_norm = rms_norm(_take(video, joined), self.eps)
        audio_norm = rms_norm(_take(audio, joined), self.eps)
        video_a2v_scale, video_a2v_shift, video_v2a_scale, video_v2a_shift = v.cross.rows(video_table, 0, 4)
        audio_a2v_scale, audio_a2v_shift, audio_v2a_scale, audio_v2a_shift = a.cross.rows(audio_table, 0, 4)
        to_video = self.audio_to_video_attn(
            video_norm * (1 + video_a2v_scale) + video_a2v_shift,
            audio_norm * (1 + audio_a2v_scale) + audio_a2v_shift,
            rope=v.rope.cross,
            context_rope=a.rope.cross,
        )
        to_audio = self.video_to_audio_attn(
            audio_norm * (1 + audio_v2a_scale) + audio_v2a_shift,
            video_norm * (1 + video_v2a_scale) + video_v2a_shift,
            rope=a.rope.cross,
            context_rope=v.rope.cross,
        )
        video = _add_rows(video, to_video * (video_table[4].to(video) + v.cross_gate), joined)
        audio = _add_rows(audio, to_audio * (audio_table[4].to(audio) + a.cross_gate), joined)
        return video, audio

    def _feed_forward(self, x, ff: FeedForward, table, conditioning: StreamConditioning) -> Tensor:
        shift, scale, gate = conditioning.modulation.rows(table, 3, 6)
        return x + ff(modulated_norm(x, shift, scale, self.eps)) * gate


def _take(x: Tensor | None, rows: tuple[int, ...] | None) -> Tensor | None:
    """The named rows of x, without a copy where they are its first ones; all of x when rows is None."""
    if x is None or rows is None:
        return x
    return x[: len(rows)] if rows == tuple(range(len(rows))) else x[list(rows)]


def _add_rows(x: Tensor, update: Tensor, rows: tuple[int, ...] | None) -> Tensor:
    if rows is None:
        return x + update
    return x.index_add(0, torch.tensor(rows, device=x.device), update)
