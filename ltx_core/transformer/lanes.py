"""Video and audio on GPU streams of their own: the audio's many small kernels run beside the video's large ones."""

from contextlib import AbstractContextManager, nullcontext
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
    """Inside, the current stream for video and a second one for audio.  What goes in has to be held by the caller, and
    what comes out is for the current stream.

    A tensor's memory is used again in the order of the stream that made it.  What the other stream reads is therefore
    held until the two have waited for each other again.
    """

    def __init__(self, device: torch.device):
        self._video, self._audio = torch.cuda.current_stream(device), _audio_stream(device)
        self._held: tuple[Tensor, ...] = ()

    def audio(self) -> AbstractContextManager:
        return torch.cuda.stream(self._audio)

    def exchange(self, *tensors: Tensor) -> None:
        self._audio.wait_stream(self._video)
        self._video.wait_stream(self._audio)
        self._held = tensors

    # A class, since a generator whose clean-up fails too makes a cycle of exceptions, which holds on to all tensors.
    def __enter__(self) -> "TwoLanes":
        self.exchange()
        return self

    def __exit__(self, *_) -> None:
        self.exchange()


@cache
def _audio_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
