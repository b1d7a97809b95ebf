"""Recording GPU work as a CUDA graph, so that a recording which fails leaves the process as it was.

PyTorch ends a capture in steps and stops at the first that fails: the memory allocator then still believes that a
capture is underway, and the device's random generator that it belongs to a graph.  Both outlive the failure and break
whoever uses the GPU next, so both are put right here.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial

import torch
from torch import Tensor

from ..kernels.dispatch import can_fuse
from ..transformer.arrangement import Arrangement
from .streams import TwoStreams, audio_stream

Outputs = tuple[Tensor | None, ...]
Capture = Callable[[Callable[[], Outputs]], tuple[Callable[[], None], Outputs]]


# Free memory that a recording asks for: at most about a tenth of it is used.
ROOM = 2 * 2**30


class CudaRecorder:
    """What recording takes of a GPU.

    alone: whether no other thread works on GPUs now, asked before each recording; what is recorded may be replayed at
    any time.
    """

    def __init__(self, alone: Callable[[], bool] = lambda: True):
        self._alone = alone

    def suits(self, x: Tensor) -> bool:
        """Whether work on x may be recorded: gradients, casts and recordings of others would not follow."""
        return (
            x.is_cuda
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled()
            and can_fuse(x)
            and not torch.cuda.is_current_stream_capturing()
        )

    def may_record(self) -> bool:
        """Whether what other threads do now stays out of a recording."""
        return self._alone() or not takes_from_all_threads()

    def has_room(self, device: torch.device) -> bool:
        return torch.cuda.mem_get_info(device)[0] >= ROOM

    def side_by_side(self, device: torch.device, inner: Arrangement) -> AbstractContextManager[Arrangement]:
        """Inside, video and audio may be computed at once."""
        return TwoStreams(device, inner)

    def mark(self) -> torch.cuda.Event:
        """An event that is done when what was launched so far is."""
        event = torch.cuda.Event()
        event.record()
        return event

    def open(self, device: torch.device) -> Capture:
        """A function that records another one: how to replay it, and where its result then appears.

        What it records shares memory, so that it has to be replayed in the order of recording.  It raises what the
        function raises, and RuntimeError for what CUDA cannot record.  Under `cudaMallocAsync`, waiting for the GPU
        inside a recording ends the process: PyTorch cannot free what was allocated there any more.
        """
        pool, stream = torch.cuda.graph_pool_handle(), _capture_stream(device)

        def capture(function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
            current = torch.cuda.current_stream(device)
            stream.wait_stream(current)
            try:
                with torch.cuda.stream(stream):
                    # Run as usual first: what libraries make at their first use has to outlive the recording.  The
                    # results lie in memory of their own, so that nothing allocated inside is left when the recording
                    # ends: with `cudaMallocAsync`, freeing that before a replay would end the process.
                    outputs = function()
                    with _restored_generator(device):
                        graph = _recorded(partial(_copied, function, outputs, stream), device, pool)
            finally:
                current.wait_stream(stream)
            return graph.replay, outputs

        return capture


def takes_from_all_threads() -> bool:
    """Whether a recording takes what other threads allocate meanwhile for its own, and says so with every tensor: as
    `cudaMallocAsync` does."""
    return torch.cuda.is_available() and torch.cuda.get_allocator_backend() != "native"


def _recorded(function: Callable[[], None], device: torch.device, pool: tuple[int, int]) -> torch.cuda.CUDAGraph:
    """What the function does on the current stream, recorded and not done."""
    graph = torch.cuda.CUDAGraph()
    try:
        graph.capture_begin(pool, capture_error_mode="thread_local")
        try:
            function()
        except BaseException as error:
            _let_go(error)
            with suppress(RuntimeError):
                torch.cuda.current_stream(device).wait_stream(audio_stream(device))
            with suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    except BaseException:
        with suppress(RuntimeError):  # raised where the allocator's part has ended already
            torch._C._cuda_endAllocateToPool(_index(device), pool)
            torch._C._cuda_releasePool(_index(device), pool)
        raise
    return graph


def _let_go(error: BaseException | None) -> None:
    """Frees what an error's frames hold: memory of a recording that never runs has to go while it is recorded."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextmanager
def _restored_generator(device: torch.device) -> Iterator[None]:
    """Inside, the device's default generator has a copy of its state, for graphs to take hold of."""
    generator = torch.cuda.default_generators[_index(device)]
    own = generator.graphsafe_get_state()
    generator.graphsafe_set_state(generator.clone_state())
    try:
        yield
    finally:
        generator.graphsafe_set_state(own)


def _copied(function: Callable[[], Outputs], targets: Outputs, stream: torch.cuda.Stream) -> None:
    """Copies what the function gives to the targets, and lets go of it where the recording still notices.

    `cudaMallocAsync` frees memory on the stream that it was made for, which is work that a recording has to wait for.
    """
    side, sources = audio_stream(stream.device), function()
    for source, target in zip(sources, targets, strict=True):
        if target is not None:
            target.copy_(source)
    side.wait_stream(stream)
    del source, sources
    stream.wait_stream(side)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
