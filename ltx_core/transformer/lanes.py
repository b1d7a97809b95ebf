"""Video and audio on GPU streams of their own: the audio's many small kernels run beside the video's large ones."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor


class OneLane:
    """Everything in the order of the calls."""

    def audio(self) -> AbstractContextManager:
        """Inside, audio is computed."""
        return nullcontext()

    def exchange(self, *tensors: Tensor) -> None:
        """From here on each side may read these tensors of the other."""


ONE_LANE = OneLane()


class TwoLanes(OneLane):
    """The current stream for video and a second one for audio; see `two_lanes`.

    A tensor's memory is used again in the order of the stream that made it.  What the other stream reads is therefore
    held until the two have waited for each other again.
    """

    def __init__(self, device: torch.device):
        self._video, self._audio = torch.cuda.current_stream(device), audio_stream(device)
        self._held: tuple[Tensor, ...] = ()

    def audio(self) -> AbstractContextManager:
        return torch.cuda.stream(self._audio)

    def exchange(self, *tensors: Tensor) -> None:
        self._audio.wait_stream(self._video)
        self._video.wait_stream(self._audio)
        self._held = tensors


@contextmanager
def two_lanes(device: torch.device) -> Iterator[TwoLanes]:
    """Two lanes for the time inside; what goes in has to be held, and what comes out is for the current stream."""
    lanes = TwoLanes(device)
    lanes.exchange()
    try:
        yield lanes
    finally:
        lanes.exchange()


@cache
def audio_stream(device: torch.device) -> torch.cuda.Stream:
    return with_workspace(torch.cuda.Stream(device))


def with_workspace(stream: torch.cuda.Stream) -> torch.cuda.Stream:
    """A matrix product there leaves cuBLAS its workspace for that stream, which stays for good, outside of any
    recording's memory."""
    with torch.cuda.stream(stream):
        ones = torch.ones(16, 16, device=stream.device, dtype=torch.bfloat16)
        ones @ ones
    return stream
