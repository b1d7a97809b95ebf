"""The audio-video transformer: predicts the velocity of video and audio tokens for every guidance pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import GeometryError, LTXError
from ..kernels.activation import Activation
from ..kernels.attention import attend
from ..progress import SILENT, Reporter
from .attention import AttentionFunction
from .block import AVTransformerBlock, StreamConditioning
from .inputs import GuidancePass, ModalityInput, ModalityRope
from .modulation import AdaLayerNormSingle, Modulation, TokenTimesteps
from .params import StreamParams, TransformerParams
from .pass_sharing import plan_passes
from .rope import interval_middles, rotary_table
from .runner import BlockRunner, one_after_another

Velocities = tuple[Tensor | None, Tensor | None]


class CaptionProjection(nn.Module):
    """Text features (..., channels) -> (..., width) inside the transformer, as LTX-2.0 has it."""

    def __init__(self, channels: int, width: int, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.linear_1 = ops.Linear(channels, width, dtype=dtype, device=device)
        self.linear_2 = ops.Linear(width, width, dtype=dtype, device=device)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(features), approximate="tanh"))


class AVTransformer(nn.Module):
    """The diffusion transformer of LTX-2.3, 2.0 and 2.5; parameter names are those of the official files."""

    def __init__(
        self,
        params: TransformerParams,
        *,
        attention: AttentionFunction = attend,
        ops=nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        video, audio = params.video, params.audio
        count = 9 if params.text_adaln else 6
        prompt_timestep = params.text_adaln and params.prompt_timestep

        def adaln(width: int, count: int) -> AdaLayerNormSingle:
            return AdaLayerNormSingle(width, count, ops=ops, **factory)

        self.patchify_proj = ops.Linear(video.in_channels, video.width, **factory)
        self.audio_patchify_proj = ops.Linear(audio.in_channels, audio.width, **factory)
        self.adaln_single = adaln(video.width, count)
        self.audio_adaln_single = adaln(audio.width, count)
        self.prompt_adaln_single = adaln(video.width, 2) if prompt_timestep else None
        self.audio_prompt_adaln_single = adaln(audio.width, 2) if prompt_timestep else None
        self.av_ca_video_scale_shift_adaln_single = adaln(video.width, 4)
        self.av_ca_audio_scale_shift_adaln_single = adaln(audio.width, 4)
        self.av_ca_a2v_gate_adaln_single = adaln(video.width, 1)
        self.av_ca_v2a_gate_adaln_single = adaln(audio.width, 1)
        if params.keyframe_embedding:
            self.keyframes_abs_pos_embedding = nn.Parameter(torch.empty(1, video.width, **factory))
        if params.caption_channels is not None:
            self.caption_projection = CaptionProjection(params.caption_channels, video.width, ops=ops, **factory)
            self.audio_caption_projection = CaptionProjection(params.caption_channels, audio.width, ops=ops, **factory)
        self.transformer_blocks = nn.ModuleList(
            AVTransformerBlock(params, attention=attention, ops=ops, **factory) for _ in range(params.num_layers)
        )
        self.scale_shift_table = nn.Parameter(torch.empty(2, video.width, **factory))
        self.audio_scale_shift_table = nn.Parameter(torch.empty(2, audio.width, **factory))
        self.proj_out = ops.Linear(video.width, video.out_channels, **factory)
        self.audio_proj_out = ops.Linear(audio.width, audio.out_channels, **factory)

    def rope_tables(
        self, video_positions: Tensor | None, audio_positions: Tensor | None, reporter: Reporter = SILENT
    ) -> tuple[ModalityRope | None, ModalityRope | None]:
        """Rotary tables for token bounds (1, 3, T, 2) in seconds and pixels, and (1, 1, T, 2) in seconds.

        Audio-video attention rotates both sides by time alone.  Made once per stage: positions do not change.
        """
        video = self._rope(video_positions, self.params.video, reporter)
        return video, self._rope(audio_positions, self.params.audio, reporter)

    def _rope(self, bounds: Tensor | None, stream: StreamParams, reporter: Reporter) -> ModalityRope | None:
        if bounds is None:
            return None
        if bounds.shape[0] != 1:
            raise GeometryError(
                f"Positions have batch size {bounds.shape[0]}, expected 1: one set of positions serves a whole batch."
            )
        p = self.params
        reporter.check_cancel()
        middles = interval_middles(bounds[0])
        longest = max(p.video.max_positions[0], p.audio.max_positions[0])
        return ModalityRope(
            tokens=rotary_table(middles, stream.max_positions, stream.width, stream.heads, p.theta,
                                float64=p.frequencies_float64, reporter=reporter),
            cross=rotary_table(middles[:1], (longest,), p.audio.width, p.audio.heads, p.theta,
                               float64=p.frequencies_float64, reporter=reporter),
        )  # fmt: skip

    def forward(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        passes: Sequence[GuidancePass],
        run_blocks: BlockRunner = one_after_another,
    ) -> list[Velocities]:
        """Velocities (noise minus data) of video (B, T, 128) and audio (B, T, 128) for every pass, in their order.

        A modality that is None is left out together with audio-video attention.  Several passes at once need batch
        size 1.  `run_blocks` says how the blocks are run, see `transformer.runner`.
        """
        if video is not None and self.patchify_proj is None:
            raise LTXError("This transformer was loaded for sound alone, but is to make a picture: load all of it.")
        batch = (video or audio).tokens.shape[0]
        if batch > 1 and len(passes) > 1:
            raise LTXError(f"{len(passes)} guidance passes with batch size {batch}: run one of them at a time.")
        plan = plan_passes(passes, self.params.num_layers)
        firsts = [passes[i] for i in plan.context_passes]
        video_stream, video_conditioning, video_embedded = self._enter(video, audio, firsts, of_video=True)
        audio_stream, audio_conditioning, audio_embedded = self._enter(audio, video, firsts, of_video=False)
        video_stream, audio_stream = run_blocks(
            self.transformer_blocks, plan.blocks, (video_stream, audio_stream),
            (video_conditioning, audio_conditioning),
        )  # fmt: skip
        video_velocity = self._leave(video_stream, video_embedded, self.scale_shift_table, self.proj_out)
        audio_velocity = self._leave(audio_stream, audio_embedded, self.audio_scale_shift_table, self.audio_proj_out)
        if len(passes) == 1:
            return [(video_velocity, audio_velocity)]
        return [(_row(video_velocity, row), _row(audio_velocity, row)) for row in plan.row_of_pass]

    def _enter(
        self, own: ModalityInput | None, other: ModalityInput | None, firsts: list[GuidancePass], of_video: bool
    ):
        """The stream's first state, its conditioning for all blocks, and its embedded timestep for the output."""
        if own is None:
            return None, None, None
        p, dtype = self.params, own.tokens.dtype
        if of_video:
            patchify, adaln, prompt_adaln = self.patchify_proj, self.adaln_single, self.prompt_adaln_single
            cross_adaln, gate_adaln = self.av_ca_video_scale_shift_adaln_single, self.av_ca_a2v_gate_adaln_single
            contexts = torch.cat([p.video_context for p in firsts])
        else:
            patchify, adaln = self.audio_patchify_proj, self.audio_adaln_single
            prompt_adaln = self.audio_prompt_adaln_single
            cross_adaln, gate_adaln = self.av_ca_audio_scale_shift_adaln_single, self.av_ca_v2a_gate_adaln_single
            contexts = torch.cat([p.audio_context for p in firsts])
        if p.caption_channels is not None:
            contexts = (self.caption_projection if of_video else self.audio_caption_projection)(contexts)

        timesteps = TokenTimesteps.of(own.timesteps)
        modulation, embedded = adaln(timesteps.values * p.timestep_scale, dtype)
        prompt = None
        if not p.text_adaln:
            block = self.transformer_blocks[0]
            context = Activation.made_for((block.attn2 if of_video else block.audio_attn2).to_k, contexts)
        elif prompt_adaln is None:
            context = Activation(contexts)
            prompt = Modulation(contexts.new_zeros(1, 2, contexts.shape[-1]), None)  # the tables alone
        else:
            context = Activation(contexts)
            # Neighbouring samples may share a context, and with it their sigma.
            sigma = own.sigma[:: max(1, len(own.sigma) // len(contexts))]
            prompt = timesteps.by_sample(prompt_adaln(sigma * p.timestep_scale, dtype)[0], contexts.shape[1])
        cross = gate = None
        if other is not None:
            tokens = own.tokens.shape[1]
            if p.cross_timestep == "own":
                cross = timesteps.by_token(cross_adaln(timesteps.values * p.timestep_scale, dtype)[0])
            else:
                cross = timesteps.by_sample(cross_adaln(other.sigma * p.timestep_scale, dtype)[0], tokens)
            gate = timesteps.by_sample(gate_adaln(other.sigma * p.cross_gate_timestep_scale, dtype)[0], tokens)
        conditioning = StreamConditioning(
            timesteps.by_token(modulation), prompt, cross, gate, own.rope, context, own.bias
        )
        stream = patchify(own.tokens)
        if p.keyframe_embedding and own.single_frames is not None:
            # A product, as the vendor's: the shapes do not depend on how many tokens are marked.
            stream = stream + own.single_frames[:, None].to(dtype) * self.keyframes_abs_pos_embedding.to(stream)
        return stream, conditioning, timesteps.by_token(embedded[:, None])

    def _leave(self, stream: Tensor | None, embedded: Modulation | None, table: Tensor, projection) -> Tensor | None:
        if stream is None:
            return None
        normed = F.layer_norm(stream, (stream.shape[-1],), eps=self.params.norm_eps)
        shift, scale = (embedded.vectors(table[own : own + 1])[0].per_token() for own in (0, 1))
        return projection(normed * (1 + scale) + shift)


def _row(x: Tensor | None, row: int) -> Tensor | None:
    return None if x is None else x[row : row + 1]
