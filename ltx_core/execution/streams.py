"""Video and audio on CUDA streams of their own: the audio's many small kernels run beside the video's large ones."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor

from ..kernels.activation import Activation
from ..transformer.arrangement import Arrangement


class TwoStreams(Arrangement):
    """Inside, the current CUDA stream for video and a second one for audio; the rest is arranged as in `inner`.

    What goes in has to be held by the caller, and what comes out is for the current stream.  A tensor's memory is used
    again in the order of the stream that made it.  What the other stream reads is therefore held until the two have
    waited for each other again.
    """

    def __init__(self, device: torch.device, inner: Arrangement):
        self._video, self._audio = torch.cuda.current_stream(device), audio_stream(device)
        self._inner = inner
        self._held: tuple[Activation, ...] = ()

    def audio(self) -> AbstractContextManager:
        return torch.cuda.stream(self._audio)

    def exchange(self, *activations: Activation) -> None:
        self._audio.wait_stream(self._video)
        self._video.wait_stream(self._audio)
        self._held = activations

    def feed_forward(self, network: Callable[[Tensor | Activation], Tensor], x: Activation) -> Tensor:
        return self._inner.feed_forward(network, x)

    # A class, since a generator whose clean-up fails too makes a cycle of exceptions, which holds on to all tensors.
    def __enter__(self) -> "TwoStreams":
        self.exchange()
        return self

    def __exit__(self, *_) -> None:
        self.exchange()


@cache
def audio_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
