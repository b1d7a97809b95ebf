"""One process with ComfyUI started as its server starts it, but without the server: flags, allocator, dynamic VRAM."""

import asyncio
import importlib
import sys
import types
from pathlib import Path

GIB = 2**30


def start(tree: Path, base: Path, flags: list[str]) -> dict[str, type]:
    """Imports ComfyUI from `tree` with command line `flags` and returns the pack's nodes by the end of their ids.

    To be called before torch is imported: dynamic VRAM goes between torch and the driver.
    """
    assert "torch" not in sys.modules, "torch was imported before ComfyUI"
    sys.path.insert(0, str(tree))
    _without("av")
    arguments, sys.argv = sys.argv, ["main.py", "--base-directory", str(base), *flags]
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.cli_args import args

    sys.argv = arguments
    dynamic = _dynamic_vram_wanted()
    if dynamic:
        _prepare_dynamic_vram(args)
    if not args.cpu:
        import cuda_malloc  # noqa: F401  (chooses the allocator)

    import torch  # noqa: F401

    if dynamic:
        _enable_dynamic_vram(args)
    return _nodes()


def _nodes() -> dict[str, type]:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import workload  # noqa: F401  (makes the pack importable)

    import ltx_duo

    extension = asyncio.run(ltx_duo.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return {node.GET_SCHEMA().node_id.removeprefix("LTXDuo"): node for node in nodes}


def _without(name: str) -> None:
    """An empty module where one is missing that only image and video files need."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__getattr__ = _stand_in
        for part in ("", ".container", ".subtitles", ".subtitles.stream", ".video", ".video.reformatter"):
            sys.modules[name + part] = module


def _stand_in(attribute: str) -> type:
    """For names that are used in annotations only."""
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    return type(attribute, (), {})


def _dynamic_vram_wanted() -> bool:
    try:
        from comfy.cli_args import enables_dynamic_vram
    except ImportError:
        return False
    return enables_dynamic_vram()


def _prepare_dynamic_vram(args) -> None:
    import comfy_aimdo.control

    reserve = None if args.reserve_vram is None else int(args.reserve_vram * GIB)
    comfy_aimdo.control.init(simple_vram_headroom=reserve, nvml_pressure=not args.disable_nvml_pressure)


def _enable_dynamic_vram(args) -> None:
    import comfy.memory_management
    import comfy.model_management as mm
    import comfy.model_patcher
    import comfy_aimdo.control

    headroom = int(args.vram_headroom * GIB)
    if comfy_aimdo.control.init_devices((device.index, headroom) for device in mm.get_all_torch_devices()):
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
