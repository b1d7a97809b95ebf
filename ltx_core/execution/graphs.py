"""CUDA graphs of the transformer's blocks, for evaluations so small that the GPU would wait for Python.

A sampler's steps launch the same kernels on new numbers.  The first evaluation of a kind is recorded while it runs, as
soon as weights are in their place, and from then on it is replayed: new inputs are copied to where the recorded ones
lay.  Weights are no inputs: kernels read them where they lie, so that a recording holds only as long as every weight
stays at its address.  This is checked before every replay; where it does not hold, or cannot, the blocks run as usual.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .. import transformer
from ..kernels.attention import RECORDABLE, attend
from ..kernels.layer_protocols import TellsFixedWeights, offers
from ..progress import SILENT, Reporter
from ..transformer.arrangement import IN_ORDER, Arrangement
from ..transformer.pass_sharing import BlockPlan
from ..transformer.runner import Conditionings, InOrder, Streams
from .capture import CudaRecorder

logger = logging.getLogger("ltx_duo")

# Between graphs the caller may cancel.  The GPU has at most two of them before it.
BLOCKS_PER_GRAPH = 6
# Video tokens times rows, up to which launching takes longer than computing.
MOST_TOKENS = 12288


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


class Holder(Protocol):
    """Whoever moves weights about, and can let them be."""

    def hold(self, blocks: nn.ModuleList) -> bool:
        """Whether the blocks' weights, all on their device, stay where they are from now on."""

    def release(self) -> None:
        """They may be moved again."""


class BlockGraphs:
    """Runs the blocks of one stage's evaluations (a `BlockRunner`); what is small is recorded and replayed.

    `holder`: asked to hold weights that are moved about, and to release them when a run raises.  The recordings' memory
    is free again when this object goes, or when a run of it raises.  `replayed` of the `evaluations` so far were;
    `reason`: why the last that could gain from it was not.
    """

    def __init__(
        self,
        reporter: Reporter = SILENT,
        *,
        holder: Holder | None = None,
        recorder: CudaRecorder | None = None,
        blocks_per_graph: int = BLOCKS_PER_GRAPH,
        most_tokens: int = MOST_TOKENS,
    ):
        self._reporter, self._in_order = reporter, InOrder(reporter)
        self._recorder = CudaRecorder() if recorder is None else recorder
        self._blocks_per_graph, self._most_tokens = blocks_per_graph, most_tokens
        self._recordings: dict[Hashable, _Recording] = {}
        self._holder, self._broken = holder, False
        self.evaluations = self.replayed = 0
        self.reason: str | None = None

    def __call__(
        self,
        blocks: nn.ModuleList,
        plans: Sequence[BlockPlan],
        streams: Streams,
        conditionings: Conditionings,
        arrangement: Arrangement = IN_ORDER,
    ) -> Streams:
        """Both streams after all blocks, as one after another; the reporter is asked between them whether to go on."""
        self.evaluations += 1
        try:
            if self._may_be_recorded(streams, plans):
                return self._replayed(blocks, plans, streams, conditionings, arrangement)
            return self._in_order(blocks, plans, streams, conditionings, arrangement)
        except BaseException:
            self._recordings.clear()  # whoever tries again needs the memory
            if self._holder is not None:
                self._holder.release()
            raise

    def _may_be_recorded(self, streams: Streams, plans: Sequence[BlockPlan]) -> bool:
        first = next(stream for stream in streams if stream is not None)
        rows = first.shape[0] * len(plans[-1].contexts or (0,))
        return rows * first.shape[1] <= self._most_tokens and self._recorder.suits(first)

    def _replayed(
        self, blocks, plans, streams: Streams, conditionings: Conditionings, arrangement: Arrangement
    ) -> Streams:
        tensors: list[Tensor] = []
        structure = _structure((streams, conditionings), tensors)
        key = (id(blocks), tuple(plans), structure, arrangement, torch.is_inference_mode_enabled())
        recording = self._recordings.get(key)
        if recording is None:
            recorded = self._record(key, blocks, plans, (streams, conditionings), tensors, arrangement)
            return recorded or self._in_order(blocks, plans, streams, conditionings, arrangement)
        for own, new in zip(recording.inputs, tensors, strict=True):
            own.copy_(new)
        done = []
        for piece in recording.pieces:
            self._reporter.check_cancel()
            if _weights(blocks[piece.start : piece.stop], tensors[0].device) != piece.weights:
                del self._recordings[key]
                rest = slice(piece.start, None)
                return self._in_order(blocks[rest], plans[rest], streams, recording.conditionings, arrangement)
            if len(done) > 1:
                done[-2].synchronize()
            piece.replay()
            done.append(self._recorder.mark())
            streams = piece.outputs
        self.replayed += 1
        return streams

    def _record(
        self, key: Hashable, blocks, plans, inputs: tuple, tensors: list[Tensor], arrangement: Arrangement
    ) -> Streams | None:
        """Both streams after all blocks, recorded as they ran; None, with a reason, where they were not."""
        device = tensors[0].device
        if self._broken or not self._recorder.may_record():
            return None
        if not self._recorder.has_room(device):
            self.reason = "too little memory is free"
            return None
        starts = range(0, len(blocks), self._blocks_per_graph)
        weights = self._held_weights(blocks, starts, device)
        if None in weights:
            self.reason = "weights are moved, cast or patched at each use"
            return None
        own = [torch.empty_like(tensor).copy_(tensor) for tensor in tensors]
        streams, conditionings = _rebuilt(inputs, iter(own))
        pieces = []
        try:
            capture = self._recorder.open(device)
            for start, marks in zip(starts, weights, strict=True):
                self._reporter.check_cancel()
                stop = min(start + self._blocks_per_graph, len(blocks))

                def some(streams=streams, start=start, stop=stop) -> Streams:
                    own = blocks[start:stop], plans[start:stop]
                    return self._side_by_side(*own, streams, conditionings, arrangement)

                replay, streams = capture(some)
                pieces.append(_Piece(start, stop, replay, streams, marks))
        except RuntimeError as error:  # whatever CUDA cannot record: the blocks run as usual
            self.reason = str(error).partition("\n")[0]  # the error itself would hold tensors wherever logs are kept
            _tell(self.reason)
            self._broken = True
            return None
        self._recordings[key] = _Recording(own, conditionings, pieces)
        return streams

    def _held_weights(self, blocks, starts: range, device: torch.device) -> list[Hashable | None]:
        """Where the weights of each piece are to stay, with the holder's help if there is need and it can."""

        def found() -> list[Hashable | None]:
            return [_weights(blocks[start : start + self._blocks_per_graph], device) for start in starts]

        weights = found()
        if None in weights and self._holder is not None and self._holder.hold(blocks):
            return found()
        return weights

    def _side_by_side(
        self, blocks, plans, streams: Streams, conditionings: Conditionings, arrangement: Arrangement
    ) -> Streams:
        """Video and audio at once, which is worth it where neither fills the GPU.  The caller holds `streams`."""
        device = next(stream.device for stream in streams if stream is not None)
        both = None not in streams
        with self._recorder.side_by_side(device, arrangement) if both else nullcontext(arrangement) as arranged:
            for block, plan in zip(blocks, plans, strict=True):
                streams = block(*streams, *conditionings, plan, arranged)
        return streams


def _weights(blocks: Sequence[nn.Module], device: torch.device) -> Hashable | None:
    """Where the weights of some blocks lie, and as what; None unless all are there to stay, and nothing but their
    kernels is to run: no layers that stream, cast or patch, no hooks, no attention from elsewhere."""
    marks: list[Hashable] = []
    waiting: list[nn.Module] = list(blocks)
    while waiting:
        module = waiting.pop()
        own = module.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own:
            return None
        tensors = _own_tensors(module)
        if tensors is None:
            return None
        if own.get("attention", attend) not in RECORDABLE:
            return None
        # Float8 layers keep their scales beside the weight.
        for tensor in (*tensors, own.get("_scales")):
            if tensor is not None:
                if tensor.device != device:
                    return None
                marks += (tensor.data_ptr(), tensor.dtype)
        waiting += [part for part in own["_modules"].values() if part is not None]
    return tuple(marks)


def _own_tensors(module: nn.Module) -> tuple[Tensor | None, ...] | None:
    """What the module itself computes with; None where that is not to stay, or it is not known."""
    if offers(module, TellsFixedWeights):
        return module.fixed_weights()
    own = module.__dict__
    return (*own["_parameters"].values(), *own["_buffers"].values()) if _computes_plainly(type(module)) else None


@cache
def _computes_plainly(kind: type) -> bool:
    """Whether modules of this class are known to compute with their parameters as these are."""
    known = nn.Linear.forward, nn.Sequential.forward, nn.Identity.forward, nn.Module.forward
    return kind.forward in known or kind.forward.__module__.startswith(transformer.__name__)


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
