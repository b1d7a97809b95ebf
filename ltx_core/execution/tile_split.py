"""A video's tiles divided between devices: each decodes some of them with its copy of the decoder.

A tile is computed by the same kernels on the same numbers wherever it is, and the first device blends all of them in
their order: the film has the bits of one that is decoded in the same tiles on one device.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

from torch import Tensor

from ..progress import SILENT, Reporter
from ..video_vae.decoder import VideoDecoder
from ..video_vae.tiling import Decoder
from .replicas import WAIT_SECONDS, submit

# Tiles that a helping device is given ahead, so that it need not wait until the first one has blended its last.
_AHEAD = 2

DecodeAll = Callable[[Decoder, Sequence[Tensor]], Iterator[Tensor]]


class _Tiles:
    def __init__(self, replicas: Sequence[VideoDecoder], reporter: Reporter):
        self._reporter = reporter
        self._helpers = [
            (own, next(own.parameters()).device, ThreadPoolExecutor(1, thread_name_prefix="ltx-duo-gpu"))
            for own in replicas
        ]

    def __call__(self, decoder: Decoder, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """In turn: the first part is decoded here, the next by the first replica, and so on."""
        count = 1 + len(self._helpers)
        ahead: dict[int, Future[Tensor]] = {}
        begun = 0
        for number, part in enumerate(parts):
            while begun < min(number + _AHEAD * count, len(parts)):
                if begun % count:
                    ahead[begun] = self._begin(begun % count - 1, parts[begun])
                begun += 1
            yield self._finished(ahead.pop(number)).to(part.device) if number % count else decoder(part)

    def _begin(self, index: int, part: Tensor) -> Future[Tensor]:
        decoder, device, thread = self._helpers[index]
        return submit(thread, partial(decoder, part.to(device)), device)

    def _finished(self, future: Future[Tensor]) -> Tensor:
        while wait([future], timeout=WAIT_SECONDS).not_done:
            self._reporter.check_cancel()
        return future.result()

    def close(self) -> None:
        for *_, thread in self._helpers:
            thread.shutdown(cancel_futures=True)


@contextmanager
def tiles_on_several_gpus(replicas: Sequence[VideoDecoder], reporter: Reporter = SILENT) -> Iterator[DecodeAll]:
    """Inside, a `decode_all` for `decode_tiled` that divides tiles between the decoder and its `replicas`.

    What one device raises is raised when its tile's turn comes; the others finish the tile that they are at.
    """
    if not replicas:
        yield map
        return
    tiles = _Tiles(replicas, reporter)
    try:
        yield tiles
    finally:
        tiles.close()
