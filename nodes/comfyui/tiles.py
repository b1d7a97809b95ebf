"""Pictures through the VAE: in one piece where memory allows, else in tiles of a size that fits."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import comfy.model_management as mm

from ...ltx_core.video_vae.tiling import DEFAULT_TILING, Tiling, even_tiling
from . import compat
from .fitting import GIB, MORE_ROOM, available_memory, give_up, make_room
from .memory import PatchedModule

log = logging.getLogger("ltx_duo")

# A few even tiles take little longer than one piece; more than this is not worth the models that would have to go.
MODEST = 5 * GIB
SMALLER_TILINGS = (DEFAULT_TILING, Tiling(512, 64, 48, 24), Tiling(384, 64, 32, 16), Tiling(256, 64, 24, 8))

T = TypeVar("T")


def automatic(frames: int, height: int, width: int) -> tuple[Tiling | None, ...]:
    """What is gone through until one fits: in one piece, few even tiles, the vendor's, then ever smaller ones."""
    return None, *(even_tiling(frames, height, width, parts) for parts in (2, 3)), *SMALLER_TILINGS


def first_that_fits(
    component: PatchedModule,
    ways: Sequence[Tiling | None],
    need: Callable[[Tiling | None], float],
    work: Callable[[Tiling | None], T],
    what: str,
    advice: str = "",
    modest: float = MODEST,
) -> T:
    """work(way) for the first of `ways` that fits by its estimate and by the device's own word; of those that want more
    than `modest` bytes none."""
    needs = [need(way) for way in ways]
    room = available_memory(component)
    if not mm.is_device_cpu(component.device):
        room -= component.patcher.model_size()
    room = min(room, max(modest, needs[-1]))
    first = next((i for i, bytes_needed in enumerate(needs) if bytes_needed <= room), len(ways) - 1)
    for i in range(first, len(ways)):
        way, last = ways[i], i == len(ways) - 1
        if i == first:
            component.load(needs[i])
        else:
            make_room(component, MORE_ROOM * needs[i])
        try:
            return work(way)
        except BaseException as error:
            if not compat.is_out_of_memory(error):
                raise
            if last:
                raise give_up(what, error, advice) from error
        log.warning("LTX Duo: not enough memory for %s %s; going on with smaller tiles.", what, _words(way))
    raise AssertionError("the last way returns or raises")


def _words(way: Tiling | None) -> str:
    return "in one piece" if way is None else f"in tiles of {way.spatial_tile} pixels and {way.temporal_tile} frames"
