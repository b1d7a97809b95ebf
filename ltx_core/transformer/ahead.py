"""The transformer's kernels, compiled before they are needed: while weights are read, or at least all at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import cache, partial

import torch

from ..kernels.ahead import run_ahead
from ..kernels.fp8 import gelu_rows, quantize_rows
from ..kernels.heads import gate_heads, norm_rotate
from ..kernels.norm import TokenRow, modulate, modulated_norm, residual_norm
from .params import StreamParams, TransformerParams
from .rope import rotary_table


@cache
def compile_ahead(params: TransformerParams, dtype: torch.dtype, device: torch.device, fp8: bool) -> Future:
    """Starts to compile what a transformer of these sizes runs on `device`, and returns at once; see `run_ahead`.

    `fp8`: its linear layers multiply in float8.  Once for all calls with the same arguments.
    """

    def calls() -> list[Callable[[], object]]:
        return [call for stream, axes in ((params.video, 3), (params.audio, 1))
                for call in _stream_calls(stream, axes, params.norm_eps, dtype, device, fp8)]  # fmt: skip

    return run_ahead(calls, device)


def _stream_calls(
    stream: StreamParams, axes: int, eps: float, dtype: torch.dtype, device: torch.device, fp8: bool
) -> Iterator[Callable[[], object]]:
    """Calls that a block makes for one stream of one token.  Attention between the streams has the audio's sizes."""

    def ones() -> torch.Tensor:
        return torch.ones(1, 1, stream.width, dtype=dtype, device=device)

    x, row = ones(), TokenRow(ones()[0], None)
    norm, rows = (row, row), {"fp8_rows": fp8}
    yield partial(modulated_norm, x, norm, eps, **rows)
    yield partial(modulate, x, norm, **rows)
    for norms in ((), (norm,), (norm, norm)):
        yield partial(residual_norm, ones(), x, row, norms, eps, fp8_rows=fp8 and norms != ())
    table = rotary_table(torch.zeros(axes, 1, device=device), (1.0,) * axes, stream.width, stream.heads, 2.0)
    for positions in (table, None):
        yield partial(norm_rotate, x, ones()[0, 0], stream.heads, positions, eps)
    heads = x.unflatten(-1, (stream.heads, -1)).transpose(1, 2)
    logits = torch.ones(1, 1, stream.heads, dtype=dtype, device=device)
    yield partial(gate_heads, [heads], logits, **rows)
    if fp8:
        yield partial(quantize_rows, x)
        yield partial(gelu_rows, torch.ones(1, 1, 4 * stream.width, dtype=dtype, device=device))
