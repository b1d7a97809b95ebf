"""A stage on several GPUs under ComfyUI's memory manager: which of them take part, and the transformer on all.

Each further GPU has the same weights under a patcher of its own, which ComfyUI loads, streams and unloads as any other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext

import comfy.model_management as mm
import torch

from ...ltx_core.errors import LTXError
from ...ltx_core.execution.capture import CudaRecorder
from ...ltx_core.execution.graphs import BlockGraphs
from ...ltx_core.execution.precompile import finish_transformer
from ...ltx_core.execution.replicas import Turns
from ...ltx_core.execution.several_gpus import PiecewiseTeam, on_several_gpus
from ...ltx_core.execution.splitting import PiecewiseModel
from ...ltx_core.progress import Reporter
from ...ltx_core.transformer.model import AVTransformer
from . import compat
from .fitting import (
    GIB,
    Need,
    available_memory,
    available_on,
    choose_pieces,
    fit_transformer,
    fitting_pieces,
    ladder,
    laddered,
    ready_transformer,
    weights_on,
)
from .held import HeldWeights
from .memory import PatchedModule
from .report import NodeReport

# A further GPU that holds less than this share of the weights that the first one holds is not used: it would stream
# the rest at every step, and all others would wait for it.
LEAST_SHARE = 0.75

Further = Mapping[torch.device, Callable[[], PatchedModule]]


@contextmanager
def fitted(
    component: PatchedModule,
    further: Further,
    passes: int,
    need: Need,
    what: str,
    report: NodeReport,
    reporter: Reporter,
) -> Iterator[PiecewiseModel]:
    """Inside, the loaded component's transformer in the pieces that fit; its evaluations are divided with those of the
    `further` devices that have room.

    Which take part is said in the `report`, and which not and why.  LTXError where one of them fails.
    """
    others = list(_ready(component, further, passes, need, report))
    if not others:
        yield fit_transformer(component, passes, need, what)
        return
    pieces = fitting_pieces([component, *others], -(-passes // (1 + len(others))), need, what)
    first = ready_transformer(component, need(pieces))
    loaded = {own: model for own in others if (model := _loaded(own, need(pieces), report)) is not None}
    if not loaded:
        yield laddered(first, component, pieces, need, what)
        return
    for own, model in loaded.items():
        finish_transformer(model, own.compute_dtype, own.device)
    parts = [PiecewiseModel(model, pieces) for model in (first, *loaded.values())]
    devices = [own.device for own in loaded]
    report.note(f"Work shared by {', '.join(map(str, (component.device, *devices)))}")
    with ExitStack() as held:
        turns = Turns()

        def recorded(follower: Reporter) -> BlockGraphs:
            own = held.enter_context(HeldWeights())
            return BlockGraphs(follower, holder=own, recorder=CudaRecorder(turns.alone))

        divided = held.enter_context(
            on_several_gpus(parts[0], parts[1:], reporter, runner=recorded, devices=devices, turns=turns)
        )
        try:
            yield PiecewiseTeam(divided, parts, pieces, ladder([component, *loaded], need, what))
        except Exception as error:
            if divided.failed is None or isinstance(error, LTXError) or compat.is_out_of_memory(error):
                raise
            said = (str(error) or type(error).__name__).partition("\n")[0]
            raise LTXError(
                f"{divided.failed} failed in its share of {what} ({said}); the other GPUs have stopped. Run again "
                "without it: lower max_gpus of LTX Several GPUs or of MultiGPU CFG Split, or restart ComfyUI if it "
                "goes on."
            ) from error


def _ready(
    component: PatchedModule, further: Further, passes: int, need: Need, report: NodeReport
) -> Iterator[PatchedModule]:
    """Of the further devices those that are not much smaller than the first; a warning for each other."""
    weights = weights_on(component)
    pieces = choose_pieces(-(-passes // (1 + len(further))), need, weights, available_memory(component))

    def held(device: torch.device) -> float:
        return max(0.0, min(weights, available_on(device) - need(pieces)))

    for device, build in further.items():
        own, first = held(device), held(component.device)
        if component.compute_dtype == torch.bfloat16 and not mm.should_use_bf16(device):
            report.warn(f"{device} is not used: it does not compute in bfloat16, as {component.device} does.")
        elif own < LEAST_SHARE * first:
            report.warn(
                f"{device} is not used: it has room for {own / GIB:.1f} GiB of the weights, where "
                f"{component.device} holds {first / GIB:.1f} GiB; all would wait for it. Free its memory, or set "
                "weight_dtype of LTX Model Loader to fp8."
            )
        else:
            yield build()


def _loaded(component: PatchedModule, room: float, report: NodeReport) -> AVTransformer | None:
    """The transformer on a further device, or None where that runs out of memory."""
    device = component.device
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            return ready_transformer(component, room)
    except BaseException as error:
        if not compat.is_out_of_memory(error):
            raise
    report.warn(f"{device} is not used: it ran out of memory while weights were loaded. Free its memory.")
    return None
