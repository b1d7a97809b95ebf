"""Engine modules under ComfyUI's memory manager: loading, streaming, eviction and casting are ComfyUI's own.

A module built here lives on the offload device; ComfyUI moves, streams or patches its layers when
`PatchedModule.load` asks for it.  The engine never moves anything itself.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import comfy.model_management as mm
import comfy.ops
import torch
from torch import Tensor, nn

from ...ltx_core.errors import CheckpointError
from ...ltx_core.gguf_blocks import BlockType
from ...ltx_core.weights import check_finite as check_weights
from . import compat, gguf_layers, offload, packed
from .layers import WeightFunction, lay_functions, set_scales, with_products
from .not_finite import not_finite

log = logging.getLogger("ltx_duo")

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class ManagedModule(nn.Module):
    """The root that a ModelPatcher holds: the engine's module as `engine`, and what ComfyUI asks a model for."""

    def __init__(
        self, engine: nn.Module, storage_dtype: torch.dtype, compute_dtype: torch.dtype, in_blocks: bool = False
    ):
        super().__init__()
        self.engine = engine
        self.in_blocks = in_blocks
        self.device = None
        self.storage_dtype = storage_dtype
        self.manual_cast_dtype = None if storage_dtype == compute_dtype else compute_dtype

    def get_dtype(self) -> torch.dtype:
        return self.storage_dtype


class PatchedModule:
    """A module with its ModelPatcher; `is_dynamic` and `get_models` are what ComfyUI's caches look for.

    `functions`, by name of a layer below the patcher's model, change that layer's weight at each use (see
    `lay_functions`); what they need is loaded together with the module: `beside`.
    """

    def __init__(
        self,
        patcher,
        compute_dtype: torch.dtype,
        functions: Mapping[str, WeightFunction] = MappingProxyType({}),
        beside: "tuple[PatchedModule, ...]" = (),
    ):
        self.patcher = patcher
        self.compute_dtype = compute_dtype
        self.functions = functions
        self.beside = beside

    def is_dynamic(self) -> bool:
        return getattr(self.patcher, "is_dynamic", lambda: False)()

    def get_models(self) -> list:
        return [self.patcher, *(other.patcher for other in self.beside)]

    def size(self) -> int:
        """Bytes of all weights that `load` makes ready."""
        return sum(patcher.model_size() for patcher in self.get_models())

    @property
    def module(self) -> nn.Module:
        """The engine's module; fetched when used, so that nothing else keeps it alive."""
        return self.patcher.model.engine

    @property
    def in_fp8(self) -> bool:
        """Whether most weights are stored in float8."""
        return self.patcher.model.storage_dtype in FP8

    @property
    def in_blocks(self) -> bool:
        """Whether weights lie in blocks, which ComfyUI's patches cannot be laid over."""
        return getattr(self.patcher.model, "in_blocks", False)

    @property
    def expanding_bytes(self) -> float:
        """What expanding one of its packed weights takes while it computes."""
        blocks = gguf_layers.expanding_bytes(self.module, self.compute_dtype)
        return max(packed.expanding_bytes(self.module), blocks)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.patcher.load_device

    def load(self, activation_bytes: float = 0) -> nn.Module:
        """Asks ComfyUI to make the module ready beside `activation_bytes` of activations, and returns it.

        They stay free however much of the weights has to be streamed.
        """
        load_together([self, *self.beside], activation_bytes)
        compat.pin_no_patch_twice(self.patcher)
        compat.patch_layers_of_others(self.patcher)
        lay_functions(self.patcher.model, self.functions)
        return self.module

    def clone(self) -> "PatchedModule":
        """The same weights under a patcher of its own, for patches that this one must not have."""
        return PatchedModule(self.patcher.clone(), self.compute_dtype)


def release(component: PatchedModule) -> None:
    """With dynamic VRAM, lets go of the device's memory that the component takes; its pages in the host's stay.

    Without it ComfyUI evicts the component when something else needs the room.
    """
    if component.is_dynamic():
        component.patcher.partially_unload(component.patcher.offload_device, component.patcher.model_size())


def load_together(components: Sequence[PatchedModule], activation_bytes: float) -> None:
    """Makes several modules ready at the same time, so that loading one does not push out another."""
    begin = time.monotonic()
    # The first number decides how much of other models goes, the second how much of these weights is loaded.
    need = int(activation_bytes)
    patchers = [component.patcher for component in components]
    mm.load_models_gpu(patchers, memory_required=need, minimum_memory_required=need)
    names = ", ".join(type(component.module).__name__ for component in components)
    log.info("LTX Duo: %s ready in %.2f s.", names, time.monotonic() - begin)


def build(
    factory: Callable[..., nn.Module],
    state_dict: Mapping[str, Tensor],
    *,
    source: str | Path,
    scales: Mapping[str, float] | None = None,
    blocks: Mapping[str, BlockType] = MappingProxyType({}),
    compute_dtype: torch.dtype,
    load_device: torch.device,
    offload_device: torch.device,
    expand: bool = False,
    patcher_class: Callable | None = None,
) -> PatchedModule:
    """Makes a module with `factory(ops=, dtype=, device=)`, gives it exactly these weights, and puts it under ComfyUI.

    Each weight keeps the dtype and, if memory-mapped, the storage that it has in `state_dict`; ComfyUI's layers cast
    where that is not `compute_dtype`.  `scales`, by layer, belong to float8 weights; `blocks`, by weight, says which
    lie in GGUF's blocks.  Layers with ComfyUI's mark stay packed; with `expand` their products are not made in that
    format.  `patcher_class` None: the one that ComfyUI takes for its own models.

    CheckpointError when weights hold NaN or names do not match; shapes have been compared when the file was opened.
    """
    check_weights({n: blocks[n].samples(t) if n in blocks else t for n, t in state_dict.items()}, source)
    ops, storage_dtype = pick_ops(state_dict, compute_dtype)
    if blocks:
        ops = gguf_layers.with_blocks(ops)
    engine = factory(ops=ops, dtype=compute_dtype, device="meta").eval()
    packed.put_in(engine, state_dict, compute_dtype)
    gguf_layers.prepare(engine, {name: (kind, state_dict[name].shape) for name, kind in blocks.items()})
    # Not strict: ComfyUI's layers may have no weights yet, and then do not tell names apart by themselves.
    missing, unexpected = engine.load_state_dict(state_dict, strict=False, assign=True)
    left = [name for name, tensor in [*engine.named_parameters(), *engine.named_buffers()] if tensor.is_meta]
    if missing or unexpected or left:
        raise CheckpointError(
            f"{source} does not fit the model that its config describes: without a value {_some(missing or left)}; "
            f"unexpected {_some(unexpected)}. The file was changed since it was opened; load it again."
        )
    set_scales(engine, scales or {}, load_device)
    packed.choose_products(engine, load_device, expand)
    engine.requires_grad_(False)
    compat.archive_dtypes(engine)
    # ComfyUI's log calls a model by its class.
    root = _root_class(f"LTX{type(engine).__name__}")(engine, storage_dtype, compute_dtype, bool(blocks))
    offload.remember(root)
    patcher = (patcher_class or compat.patcher_class())(root, load_device=load_device, offload_device=offload_device)
    stored = ", ".join(sorted({kind.name for kind in blocks.values()})) or storage_dtype
    log.info("LTX Duo: %s from %s: %s, computed in %s", type(engine).__name__, source, stored, compute_dtype)
    return PatchedModule(patcher, compute_dtype)


@cache
def _root_class(name: str) -> type[ManagedModule]:
    return type(name, (ManagedModule,), {})


def pick_ops(state_dict: Mapping[str, Tensor], compute_dtype: torch.dtype) -> tuple[type, torch.dtype]:
    """ComfyUI's layers for these weights, and the dtype that most of them are stored in; packed ones not counted.

    Casting layers are needed as soon as one layer's weight or bias is not of the compute dtype.
    """
    sizes: dict[torch.dtype, int] = {}
    marked = {f"{layer}.weight" for layer in packed.marked_layers(state_dict)}
    for name, tensor in state_dict.items():
        if name.endswith((".weight", ".bias")) and name not in marked:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    storage = max(sizes, key=sizes.get, default=compute_dtype)
    same = set(sizes) <= {compute_dtype}
    return with_products(comfy.ops.disable_weight_init if same else comfy.ops.manual_cast), storage


def broken_weights(component: PatchedModule) -> list[str]:
    """Names of weights that hold NaN or infinity; for the message when a result is not finite."""
    bad = []
    module = component.module
    blocks = {f"{name}.weight": m.block_type for name, m in module.named_modules() if getattr(m, "block_type", None)}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        # ComfyUI's packed weights, and those that are not in memory, do not show their numbers.
        if type(tensor.data) is not Tensor or tensor.is_meta:
            continue
        numbers = blocks[name].expand(tensor) if name in blocks else tensor
        if numbers.is_floating_point() and not torch.isfinite(numbers.to(torch.float32)).all():
            bad.append(name)
    return bad


def check_finite(result: Tensor, what: str, *components: PatchedModule) -> None:
    """LTXError that says what can cause it when a result holds NaN or infinity; broken weights are named."""
    # The sum shows any NaN or infinity without a mask of the tensor's size.
    if torch.isfinite(result.sum(dtype=torch.float32)):
        return
    broken = [name for component in components for name in broken_weights(component)]
    in_fp8 = any(component.in_fp8 for component in components)
    raise not_finite(f"The {what} holds NaN or infinite values.", broken, in_fp8)


def _some(names: list[str], most: int = 5) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
