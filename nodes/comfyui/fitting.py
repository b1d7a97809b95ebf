"""Fits work into the memory that there is: how many guidance passes go together, and what happens when it was too much.

ComfyUI is told what a phase needs before it loads weights.  Where the device runs out of memory all the same, the phase
is cut into smaller pieces, more of the weights are moved off the device, and the work that failed is done again.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import comfy.model_management as mm
import torch

from ...ltx_core.errors import LTXError
from ...ltx_core.execution.precompile import compile_transformer
from ...ltx_core.execution.splitting import Pieces, PiecewiseModel, Retry
from ...ltx_core.kernels.fp8 import fp8_matmul_works
from ...ltx_core.transformer.model import AVTransformer
from . import compat
from .memory import PatchedModule
from .prefetch import drop_fetched, fetch_ahead

log = logging.getLogger("ltx_duo")

GIB = 2**30
# Going through streamed weights once more a step counts like moving this many bytes more to the device.
SWEEP_PRICE = GIB
# What stays of streamed weights on the device: the layers at work and the ones on their way.
LEAST_WEIGHTS = 0.75 * GIB
# After running out of memory this much of the estimate is kept free.
MORE_ROOM = 1.5

Need = Callable[[Pieces], float]
T = TypeVar("T")


class OutOfMemory(LTXError):
    """Nothing smaller is left to try."""


def choose_pieces(passes: int, need: Need, weights: float, available: float) -> Pieces:
    """How to run `passes` passes with `available` bytes for `weights` bytes of weights and for `need(pieces)`.

    Weights that find no place are streamed, once for each group of passes: the choice moves the fewest bytes a step.
    When not even one pass fits beside the least of the weights, its networks are chunked.
    """
    room = available - min(weights, LEAST_WEIGHTS)
    fitting = [Pieces(n) for n in range(passes, 0, -1) if need(Pieces(n)) <= room]
    if not fitting:
        pieces = Pieces(1)
        while need(pieces) > room and pieces.smaller() is not None:
            pieces = pieces.smaller()
        return pieces

    def price(pieces: Pieces) -> float:
        groups = -(-passes // pieces.together)
        return groups * (max(0.0, weights + need(pieces) - available) + SWEEP_PRICE)

    return min(fitting, key=price)


def available_memory(component: PatchedModule) -> float:
    """As `available_on` its device."""
    return available_on(component.device)


def available_on(device: torch.device) -> float:
    """Bytes that weights and activations can have once ComfyUI has moved other models away, with what it reserves."""
    free = mm.get_free_memory(device)
    if mm.is_device_cpu(device):
        return free
    there = (own for own in mm.current_loaded_models if own.device == device and own.model is not None)  # None: gone
    loaded = sum(own.model_loaded_memory() for own in there)
    return free + loaded - mm.extra_reserved_memory()


def total_memory() -> float:
    """Bytes of memory of the computer and of its GPU."""
    device, cpu = mm.get_torch_device(), torch.device("cpu")
    return mm.get_total_memory(cpu) + (0 if mm.is_device_cpu(device) else mm.get_total_memory(device))


def fit_transformer(component: PatchedModule, passes: int, need: Need, what: str) -> PiecewiseModel:
    """Loads the component for the pieces that fit, and returns its transformer, run in these pieces."""
    pieces = fitting_pieces([component], passes, need, what)
    return laddered(ready_transformer(component, need(pieces)), component, pieces, need, what)


def fitting_pieces(components: Sequence[PatchedModule], passes: int, need: Need, what: str) -> Pieces:
    """How each of the components, on devices of their own, runs up to `passes` passes."""
    weights = weights_on(components[0])
    available = min(map(available_memory, components))
    pieces = choose_pieces(passes, need, weights, available)
    log.info(
        "LTX Duo: %s: %d of %d passes together%s, %.1f GiB for them beside %.1f GiB of weights, %.1f GiB available.",
        what, pieces.together, passes, f" in {pieces.chunks} chunks" if pieces.chunks > 1 else "",
        need(pieces) / GIB, weights / GIB, available / GIB,
    )  # fmt: skip
    return pieces


def weights_on(component: PatchedModule) -> float:
    """Bytes that its weights take on its device; on the CPU they are in memory already, wherever they are used from."""
    return 0 if mm.is_device_cpu(component.device) else component.size()


def ready_transformer(component: PatchedModule, room: float) -> AVTransformer:
    """The component's transformer, loaded beside `room` bytes."""
    if component.device.type == "cuda":
        # Compiles in threads while weights are read.
        fp8 = component.in_fp8 and fp8_matmul_works(component.device)
        compile_transformer(component.module.transformer.params, component.compute_dtype, component.device, fp8)
    module = component.load(room)
    if component.is_dynamic():
        drop_fetched()  # of a run that broke off
        fetch_ahead(module.transformer.transformer_blocks, component.device)
    return module.transformer


def laddered(model: AVTransformer, component: PatchedModule, pieces: Pieces, need: Need, what: str) -> PiecewiseModel:
    """The transformer in pieces, which become smaller whenever the device runs out of memory; see `ladder`."""
    return PiecewiseModel(model, pieces, ladder([component], need, what))


def ladder(components: Sequence[PatchedModule], need: Need, what: str) -> Retry:
    """Has an evaluation made again in smaller pieces, with more room for it on all the components' devices.

    Raises OutOfMemory when there is nothing smaller.
    """

    def retry(error: BaseException, tried: Pieces, smaller: Pieces | None) -> bool:
        if not compat.is_out_of_memory(error):
            return False
        if smaller is None:
            raise give_up(what, error) from error
        log.warning(
            "LTX Duo: not enough memory for %s with %s; going on with %s.", what, _words(tried), _words(smaller)
        )
        # The error keeps the tensors of its frames alive, which must not count as used.
        traceback.clear_frames(error.__traceback__)
        drop_fetched()
        for own in components:
            make_room(own, MORE_ROOM * need(smaller))
        return True

    return retry


def with_more_room(call: Callable[[], T], components: Sequence[PatchedModule], need: float, what: str) -> T:
    """call(), and once more with other models moved away and less of its own weights loaded if memory runs out."""
    try:
        return call()
    except BaseException as error:
        if not compat.is_out_of_memory(error):
            raise
    # Outside of the handler: there the error would keep the tensors of its frames alive.
    log.warning("LTX Duo: not enough memory for %s; trying again with fewer weights loaded.", what)
    for component in components:
        make_room(component, 2 * MORE_ROOM * need)
    try:
        return call()
    except BaseException as error:
        if not compat.is_out_of_memory(error):
            raise
        raise give_up(what, error) from error


def make_room(component: PatchedModule, need: float) -> None:
    """Gives cached memory back and has ComfyUI keep `need` bytes free beside the component, streaming its weights."""
    mm.soft_empty_cache()
    component.load(need)


def give_up(what: str, error: BaseException, advice: str = "") -> OutOfMemory:
    """The error to raise; everything is unloaded, as ComfyUI does when it sees that memory ran out."""
    mm.unload_all_models()
    return OutOfMemory(
        f"The device has not enough memory for {what}, even in the smallest pieces ({str(error).split(chr(10))[0]}). "
        f"{advice}"
        "Choose fewer frames, a smaller size or a shorter sound, close other programs that use the GPU, or load the "
        "model with weight dtype fp8; if other models share the GPU, start ComfyUI with --lowvram or --reserve-vram."
    )


def _words(pieces: Pieces) -> str:
    chunks = f" in {pieces.chunks} chunks" if pieces.chunks > 1 else ""
    return f"{pieces.together} pass{'es' if pieces.together > 1 else ''} at once{chunks}"
