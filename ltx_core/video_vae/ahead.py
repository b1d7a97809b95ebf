"""The video decoder's kernels, compiled before they are needed or at least all at once."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial

import torch

from ..kernels.ahead import run_ahead
from ..kernels.pixel_norm import add_update, repeat_ends
from .params import ResidualStage, VideoVAEParams


@cache
def compile_ahead(params: VideoVAEParams, dtype: torch.dtype, device: torch.device) -> Future:
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

    def calls() -> list[Callable[[], object]]:
        def pixels(count: int) -> torch.Tensor:
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
