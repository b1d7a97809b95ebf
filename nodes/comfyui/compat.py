"""Everything that differs between ComfyUI versions, in one place, looked up when it is used.

Known to differ: the patcher class (dynamic VRAM re-binds it at start-up), dtype archiving, quantised layers,
prefetching, several GPUs, nested latents, the intermediate dtype, out-of-memory tests, progress text, previews of
latents with sound.
"""

import functools
import inspect
import logging
from collections.abc import Iterator
from types import ModuleType

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import torch

log = logging.getLogger("ltx_duo")

# The start of its file's name in models/vae_approx.
SMALL_DECODER = "taeltx_2"


def patcher_class() -> type:
    """The class that ComfyUI manages its own models with now (dynamic VRAM sets it after start-up)."""
    return getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


def archive_dtypes(module: torch.nn.Module) -> None:
    """Tells dynamic VRAM which dtype each weight has, after loading, so that it keeps fp8 weights as fp8."""
    archive = getattr(mm, "archive_model_dtypes", None)
    if archive is not None:
        archive(module)


def cast_bias_weight(layer: torch.nn.Module, like: torch.Tensor, dtype: torch.dtype, bias_dtype: torch.dtype):
    """ComfyUI's weight and bias of a layer, on `like`'s device, and what to give back after their use.

    Where it can, a float8 weight that a LoRA is laid over while it streams is rounded to float8 again.
    """
    more = {}
    if dtype.is_floating_point and dtype.itemsize == 1 and _rounds_again():
        more = {"want_requant": True, "compute_dtype": mm.lora_compute_dtype(like.device)}
    return comfy.ops.cast_bias_weight(
        layer, dtype=dtype, bias_dtype=bias_dtype, device=like.device, offloadable=True, **more
    )


def _rounds_again() -> bool:
    return "want_requant" in _parameters(comfy.ops.cast_bias_weight)


@functools.cache
def _parameters(function) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def quantised_formats() -> frozenset[str]:
    """Names of the formats that ComfyUI's quantised layers compute with; none where the layers are of an older kind."""
    if not hasattr(comfy.ops, "QuantizedTensor") or "disabled" not in _parameters(comfy.ops.mixed_precision_ops):
        return frozenset()
    return frozenset(getattr(comfy.ops, "QUANT_ALGOS", ()))


def all_devices() -> list[torch.device]:
    """The devices that ComfyUI may compute on, all GPUs of the machine; older ones know one."""
    choose = getattr(mm, "get_all_torch_devices", None)
    return [mm.get_torch_device()] if choose is None else choose()


def multigpu_module() -> ModuleType | None:
    """ComfyUI's dividing of passes between GPUs, or None where it has none."""
    try:
        import comfy.multigpu
    except ImportError:
        return None
    return comfy.multigpu


def multigpu_deepclones(patcher, count: int):
    """A clone of the patcher with patchers of the same model on up to `count` GPUs; RuntimeError where its file cannot
    be read again.

    ComfyUI looks at all loaded models for some to use again, and stumbles over those that nobody holds any more.
    """
    mm.cleanup_models_gc()
    mm.cleanup_models()
    return multigpu_module().create_multigpu_deepclones(patcher, count, reuse_loaded=True)


def multigpu_clones(patcher) -> list:
    """The patchers of the same model on further GPUs that ComfyUI's MultiGPU CFG Split made, with the patches and
    options that `patcher` has now."""
    if multigpu_module() is None:
        return []
    patcher.match_multigpu_clones()
    return patcher.get_additional_models_with_key("multigpu")


def prefetch_module() -> ModuleType | None:
    """ComfyUI's fetching of weights ahead of their use, or None where it has none."""
    try:
        import comfy.model_prefetch
    except ImportError:
        return None
    return comfy.model_prefetch


def pages_module() -> ModuleType | None:
    """Dynamic VRAM's pages of weights, or None where this ComfyUI has none."""
    try:
        import comfy_aimdo.model_vbar
    except ImportError:
        return None
    return comfy_aimdo.model_vbar


class _NoRoom:
    """A buffer of pinned memory that is full."""

    size = 0

    def extend(self, **_) -> None:
        raise RuntimeError("not pinned")


def pin_no_patch_twice(patcher) -> None:
    """Has dynamic VRAM take LoRAs that lie in pinned memory (see `pinned`) straight to the device.

    It would copy them into newly pinned memory first, each time that patches change: 7 GB of a LoRA take 4 seconds, for
    memory that is given back after the node.
    """
    subsets = ("patches", "patches-loaded")
    for module in patcher.model.modules() if getattr(patcher, "patches", None) else ():
        patch = getattr(module, "weight_lowvram_function", None)
        if hasattr(patch, "_pin_state") and _lies_pinned(patch):
            patch._pin_state = {name: (_NoRoom(), [], [-1], [0], [0], {}) for name in subsets}


def _lies_pinned(patch) -> bool:
    return all(tensor.is_pinned() for _, value, *_ in patch.patches[patch.key] for tensor in _matrices(value))


def _matrices(value) -> Iterator[torch.Tensor]:
    """The tensors in a patch's value: an adapter with weights, or a tuple, of whatever depth."""
    if isinstance(value, torch.Tensor):
        if value.ndim > 1:
            yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _matrices(item)
    elif hasattr(value, "weights"):
        yield from _matrices(value.weights)


def patch_layers_of_others(patcher) -> None:
    """Lays patches over weights of layers that are not ComfyUI's own, such as the engine's norms, after a load.

    ComfyUI leaves them out with dynamic VRAM, and without it where there is no room for the layer.
    """
    dynamic = getattr(patcher, "is_dynamic", lambda: False)()
    for key in patcher.patches:
        layer = patcher.model.get_submodule(key.rpartition(".")[0])
        if not hasattr(layer, "comfy_cast_weights") and (dynamic or key not in patcher.backup):
            patcher.patch_weight_to_device(key, device_to=patcher.load_device)
            layer.comfy_patched_weights = True  # a later load with more room adds nothing twice


def intermediate_dtype() -> torch.dtype:
    """The dtype of IMAGE tensors: float32, or what the user chose where ComfyUI can be told."""
    choose = getattr(mm, "intermediate_dtype", None)
    return choose() if choose is not None else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device has no memory left."""
    test = getattr(mm, "is_oom", None)
    if test is not None:
        return bool(test(error))
    kind = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    return isinstance(error, kind)


def nested_tensor_class() -> type:
    """ComfyUI's pair of a video and an audio tensor."""
    from comfy.nested_tensor import NestedTensor

    return NestedTensor


def send_text(text: str) -> None:
    """Shows a line of text on the running node, where there is a server that can."""
    try:
        from comfy_execution.utils import get_executing_context
        from server import PromptServer
    except ImportError:
        return
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server is not None and context is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, context.node_id)


def preview_format():
    """ComfyUI's latent format with colour factors for these latents, or None where it has none yet.

    It names the small decoder that ComfyUI knows for LTX-2 but gives to no format, where its file is in vae_approx.
    """
    import comfy.latent_formats
    import folder_paths

    kind = getattr(comfy.latent_formats, "LTXAV", None)
    if kind is None:
        return None
    chosen = kind()
    if any(name.startswith(SMALL_DECODER) for name in folder_paths.get_filename_list("vae_approx")):
        chosen.taesd_decoder_name = SMALL_DECODER
    elif getattr(chosen, "latent_rgb_factors", None) is None:
        return None
    return chosen
