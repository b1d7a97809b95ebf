"""Compiles a model's kernels ahead and side by side: one takes Triton a quarter of a second, a model needs twenty.

Whoever prepares a run does it, best while weights are still being read; what was left out is compiled when it is used.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor

from ..kernels.dispatch import can_fuse, triton_works
from ..kernels.fp8 import gelu_rows, quantize_rows, takes_rows
from ..kernels.heads import gate_heads, norm_rotate
from ..kernels.norm import Norm, TokenVector, modulate, modulated_norm, residual_norm
from ..kernels.pixel_norm import add_update, repeat_ends
from ..transformer.model import AVTransformer
from ..transformer.params import StreamParams, TransformerParams
from ..transformer.rope import rotary_table
from ..video_vae.decoder import VideoDecoder
from ..video_vae.params import ResidualStage, VideoVAEParams

logger = logging.getLogger("ltx_duo")

MOST_WORKERS = 8
Calls = Sequence[Callable[[], object]]


def finish_transformer(model: AVTransformer, dtype: torch.dtype, device: torch.device) -> None:
    """Compiles what the model runs for tokens of `dtype` on `device`, and returns when that is done."""
    tokens = torch.empty(0, dtype=dtype, device=device)
    if can_fuse(tokens):
        block = model.transformer_blocks[0]
        fp8 = takes_rows((block.attn1 or block.audio_attn1).to_q, tokens)  # loaded for sound alone, it has no attn1
        compile_transformer(model.params, tokens.dtype, tokens.device, fp8).result()


def finish_video_decoder(decoder: VideoDecoder, latent: Tensor) -> None:
    """Compiles what the decoder runs for latents like this one, and returns when that is done."""
    if can_fuse(latent):
        compile_video_decoder(decoder.params, latent.dtype, latent.device).result()


@cache
def compile_transformer(params: TransformerParams, dtype: torch.dtype, device: torch.device, fp8: bool) -> Future:
    """Starts to compile what a transformer of these sizes runs on `device`, and returns at once; see `run_ahead`.

    `fp8`: its linear layers multiply in float8.  Once for all calls with the same arguments.
    """

    def calls() -> Calls:
        return [call for stream, axes in ((params.video, 3), (params.audio, 1))
                for call in _stream_calls(stream, axes, params.norm_eps, dtype, device, fp8)]  # fmt: skip

    return run_ahead(calls, device)


class _Reader:
    """Stands for the linear layers that read what kernels make."""

    weight = torch.empty(16, 16, device="meta")

    def takes_fp8_rows(self, x: Tensor) -> bool:
        return True


def _stream_calls(
    stream: StreamParams, axes: int, eps: float, dtype: torch.dtype, device: torch.device, fp8: bool
) -> Iterator[Callable[[], object]]:
    """Calls that a block makes for one stream of one token.  Attention between the streams has the audio's sizes."""

    def ones() -> Tensor:
        return torch.ones(1, 1, stream.width, dtype=dtype, device=device)

    reader = _Reader() if fp8 else None
    x, vector = ones(), TokenVector(ones()[0], None)
    norm = Norm(vector, vector, reader)
    yield partial(modulated_norm, x, norm, eps)
    yield partial(modulate, x, norm)
    for norms in ((), (norm,), (norm, norm)):
        yield partial(residual_norm, ones(), x, vector, norms, eps)
    table = rotary_table(torch.zeros(axes, 1, device=device), (1.0,) * axes, stream.width, stream.heads, 2.0)
    for positions in (table, None):
        yield partial(norm_rotate, x, ones()[0, 0], stream.heads, positions, eps)
    heads = x.unflatten(-1, (stream.heads, -1)).transpose(1, 2)
    logits = torch.ones(1, 1, stream.heads, dtype=dtype, device=device)
    yield partial(gate_heads, [heads], logits, reader)
    if fp8:
        yield partial(quantize_rows, x)
        yield partial(gelu_rows, torch.ones(1, 1, 4 * stream.width, dtype=dtype, device=device))


@cache
def compile_video_decoder(params: VideoVAEParams, dtype: torch.dtype, device: torch.device) -> Future:
    """Starts to compile what a decoder of these sizes runs on `device`, and returns at once; see `run_ahead`."""
    before, after = (2, 0) if params.causal_decoder else (1, 1)
    plain, residual = {params.latent_channels}, set()
    channels = params.decoder_bottleneck_channels
    for block in params.decoder_blocks:
        if isinstance(block, ResidualStage):
            residual.add(channels)
        else:
            plain.add(channels)
            channels //= block.multiplier

    def calls() -> Calls:
        def pixels(count: int) -> Tensor:
            return torch.ones(1, count, 1, 4, 4, dtype=dtype, device=device)

        def pad(count: int, activate: bool, biased: bool) -> Callable[[], object]:
            bias = torch.ones(count, dtype=dtype, device=device) if biased else None
            return partial(repeat_ends, pixels(count), before, after, activate=activate, bias=bias)

        result = [pad(count, False, False) for count in plain]
        result += [pad(count, True, biased) for count in residual | {channels} for biased in (False, True)]
        for count in residual:
            bias = torch.ones(count, dtype=dtype, device=device)
            result.append(partial(add_update, pixels(count), pixels(count), bias))
        return result

    return run_ahead(calls, device)


def run_ahead(calls: Callable[[], Calls], device: torch.device) -> Future:
    """Makes `calls()` in threads, each of which runs a kernel on a few numbers, and returns at once.

    The future is done when all are; it never raises: what failed here is compiled when it is used.
    """
    first = ThreadPoolExecutor(1, thread_name_prefix="ltx-duo-compile")
    done = first.submit(_run, calls, device)
    first.shutdown(wait=False)
    return done


def _run(calls: Callable[[], Calls], device: torch.device) -> None:
    if device.type != "cuda" or not triton_works(device):
        return

    def one(call: Callable[[], object]) -> None:
        with torch.inference_mode(), torch.cuda.device(device):
            call()

    try:
        with torch.inference_mode(), torch.cuda.device(device):
            work = calls()
        with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as workers:
            list(workers.map(one, work))
    except Exception as error:  # any failure of a compiler
        logger.info("LTX Duo: kernels are compiled when they are used, not ahead: %s", error)
