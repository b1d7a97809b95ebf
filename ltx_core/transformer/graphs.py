"""CUDA graphs of the transformer's blocks, for evaluations so small that the GPU would wait for Python.

A sampler's steps launch the same kernels on new numbers.  The first evaluation of a kind runs as usual, the second is
recorded, and from then on it is replayed: new inputs are copied to where the recorded ones lay.  Weights are no inputs:
kernels read them where they lie, so that a recording holds only as long as every weight stays at its address.  This is
checked before every replay; where it does not hold, or cannot, the blocks run as usual.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..kernels.attention import scaled_dot_product
from ..kernels.dispatch import fused
from ..progress import SILENT, Reporter
from .capture import recorder
from .chunks import chunk_count
from .lanes import ONE_LANE, OneLane, TwoLanes
from .plan import BlockPlan

logger = logging.getLogger("ltx_duo")

# Between graphs the caller may cancel.  The GPU has at most two of them before it.
BLOCKS_PER_GRAPH = 6
# Video tokens times rows, up to which launching takes longer than computing.
MOST_TOKENS = 12288
# Free memory that a recording asks for: at most about a tenth of it is used.
ROOM = 2 * 2**30

Streams = tuple[Tensor | None, Tensor | None]
_CURRENT: ContextVar["BlockGraphs | None"] = ContextVar("graphs", default=None)


def run_blocks(
    blocks: nn.ModuleList, plans: Sequence[BlockPlan], streams: Streams, conditionings: tuple, reporter: Reporter
) -> Streams:
    """Both streams after all blocks: replayed where that is possible and `BlockGraphs` are in force."""
    graphs = _CURRENT.get()
    if graphs is None or not _may_be_recorded(streams, plans):
        return _run_eagerly(blocks, plans, streams, conditionings, reporter)
    return graphs.run(blocks, plans, streams, conditionings, reporter)


def _run_eagerly(
    blocks, plans, streams: Streams, conditionings: tuple, reporter: Reporter, lanes: OneLane = ONE_LANE
) -> Streams:
    for block, plan in zip(blocks, plans, strict=True):
        reporter.check_cancel()
        streams = block(*streams, *conditionings, plan, lanes)
    return streams


def _run_side_by_side(blocks, plans, streams: Streams, conditionings: tuple) -> Streams:
    """Video and audio on lanes of their own: worth it where neither fills the GPU.  The caller holds `streams`."""
    with TwoLanes(_device(streams)) if None not in streams else nullcontext(ONE_LANE) as lanes:
        return _run_eagerly(blocks, plans, streams, conditionings, SILENT, lanes)


def _device(streams: Streams) -> torch.device:
    return next(stream.device for stream in streams if stream is not None)


def _suits(streams: Streams) -> bool:
    """Whether GPU work may be arranged in ways that gradients and casts would not follow."""
    first = next(stream for stream in streams if stream is not None)
    return first.is_cuda and not torch.is_grad_enabled() and not torch.is_autocast_enabled() and fused(first)


def _may_be_recorded(streams: Streams, plans: Sequence[BlockPlan]) -> bool:
    first = next(stream for stream in streams if stream is not None)
    small = first.shape[0] * len(plans[-1].contexts or (0,)) * first.shape[1] <= MOST_TOKENS
    return small and _suits(streams) and not torch.cuda.is_current_stream_capturing()


@dataclass(frozen=True)
class _Piece:
    """A few blocks recorded: where their result appears, and where their weights lay."""

    start: int
    stop: int
    replay: Callable[[], None]
    outputs: Streams
    weights: Hashable


@dataclass(frozen=True)
class _Recording:
    inputs: list[Tensor]
    conditionings: tuple
    pieces: list[_Piece]


class BlockGraphs:
    """The recordings of one stage; their memory is free again when this object goes."""

    def __init__(self):
        self._seen: set[Hashable] = set()
        self._recordings: dict[Hashable, _Recording] = {}
        self._broken = False

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Inside, the model's evaluations are recorded and replayed here."""
        token = _CURRENT.set(self)
        try:
            yield
        except BaseException:
            self._recordings.clear()  # whoever tries again needs the memory
            raise
        finally:
            _CURRENT.reset(token)

    def run(
        self, blocks: nn.ModuleList, plans: Sequence[BlockPlan], streams: Streams, conditionings: tuple,
        reporter: Reporter,
    ) -> Streams:  # fmt: skip
        """As the blocks one after another."""
        tensors: list[Tensor] = []
        structure = _structure((streams, conditionings), tensors)
        key = (id(blocks), tuple(plans), structure, chunk_count(), torch.is_inference_mode_enabled())
        if key in self._seen and key not in self._recordings:
            self._record(key, blocks, plans, (streams, conditionings), tensors)
        self._seen.add(key)
        recording = self._recordings.get(key)
        if recording is None:
            return _run_eagerly(blocks, plans, streams, conditionings, reporter)
        for own, new in zip(recording.inputs, tensors, strict=True):
            own.copy_(new)
        done = []
        for piece in recording.pieces:
            reporter.check_cancel()
            if _weights(blocks[piece.start : piece.stop], tensors[0].device) != piece.weights:
                del self._recordings[key]
                rest = slice(piece.start, None)
                return _run_eagerly(blocks[rest], plans[rest], streams, recording.conditionings, reporter)
            if len(done) > 1:
                done[-2].synchronize()
            piece.replay()
            done.append(_mark())
            streams = piece.outputs
        return streams

    def _record(self, key: Hashable, blocks, plans, inputs: tuple, tensors: list[Tensor]) -> None:
        device = tensors[0].device
        if self._broken or not _has_room(device):
            return
        starts = range(0, len(blocks), BLOCKS_PER_GRAPH)
        weights = [_weights(blocks[start : start + BLOCKS_PER_GRAPH], device) for start in starts]
        if None in weights:
            return
        own = [torch.empty_like(tensor).copy_(tensor) for tensor in tensors]
        streams, conditionings = _rebuilt(inputs, iter(own))
        pieces = []
        try:
            capture = recorder(device)
            for start, marks in zip(starts, weights, strict=True):
                stop = min(start + BLOCKS_PER_GRAPH, len(blocks))

                def some(streams=streams, start=start, stop=stop) -> Streams:
                    return _run_side_by_side(blocks[start:stop], plans[start:stop], streams, conditionings)

                replay, streams = capture(some)
                pieces.append(_Piece(start, stop, replay, streams, marks))
        except RuntimeError as error:  # whatever CUDA cannot record: the blocks run as usual
            _tell(str(error).partition("\n")[0])  # the error itself would hold tensors wherever logs are kept
            self._broken = True
            return
        self._recordings[key] = _Recording(own, conditionings, pieces)


def _weights(blocks: Sequence[nn.Module], device: torch.device) -> Hashable | None:
    """Where the weights of some blocks lie, and as what; None unless all are there to stay, and nothing but their
    kernels is to run: no layers that stream, cast or patch, no hooks, no attention from elsewhere."""
    marks: list[Hashable] = []
    waiting: list[nn.Module] = list(blocks)
    while waiting:
        module = waiting.pop()
        # A layer of the caller's own says so by `fixed_weights()`.
        own, fixed = module.__dict__, getattr(type(module), "fixed_weights", None)
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own:
            return None
        if not (_computes_plainly(type(module)) if fixed is None else fixed(module)):
            return None
        if own.get("attention", scaled_dot_product) is not scaled_dot_product:
            return None
        # Float8 layers keep their scales beside the weight.
        for tensor in (*own["_parameters"].values(), *own["_buffers"].values(), own.get("_scales")):
            if tensor is not None:
                if tensor.device != device:
                    return None
                marks += (tensor.data_ptr(), tensor.dtype)
        waiting += own["_modules"].values()
    return tuple(marks)


@cache
def _computes_plainly(kind: type) -> bool:
    """Whether modules of this class are known to compute with their parameters as these are."""
    known = nn.Linear.forward, nn.Sequential.forward, nn.Identity.forward, nn.Module.forward
    return kind.forward in known or kind.forward.__module__.startswith(__package__)


def _structure(value: Any, tensors: list[Tensor]) -> Hashable:
    """What a value is besides the numbers in its tensors, which are appended to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return value.shape, value.stride(), value.dtype, value.device
    if is_dataclass(value):
        return type(value), *(_structure(getattr(value, field.name), tensors) for field in fields(value))
    if isinstance(value, tuple):
        return tuple(_structure(item, tensors) for item in value)
    return value


def _rebuilt(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same value with other tensors, in the order of `_structure`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if is_dataclass(value):
        return type(value)(**{field.name: _rebuilt(getattr(value, field.name), tensors) for field in fields(value)})
    if isinstance(value, tuple):
        return tuple(_rebuilt(item, tensors) for item in value)
    return value


@cache
def _tell(reason: str) -> None:
    logger.warning("LTX Duo: no CUDA graphs, everything still works but small sizes are slower: %s", reason)


def _has_room(device: torch.device) -> bool:
    return torch.cuda.mem_get_info(device)[0] >= ROOM


def _mark() -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record()
    return event
