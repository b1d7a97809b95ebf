"""Preflight in ComfyUI: looks at each prompt when it is queued, before ComfyUI validates it and reads any weight.

ComfyUI hands every queued prompt to its on-prompt handlers and validates it right after, in the same request.  Errors
wait in a context variable until `validate_inputs` of the node that owns them asks; warnings go to the log and to the
browser that queued the prompt.  A prompt that comes another way is checked by the nodes as they run.
"""

import logging
import shutil
from contextvars import ContextVar
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import torch

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from .. import names
from ..prompt_graph import Node, PromptGraph
from . import files

log = logging.getLogger("ltx_duo")

EVENT = "ltx_duo.preflight"
_errors: ContextVar[dict[str, str] | None] = ContextVar("ltx_duo_preflight", default=None)


def register() -> None:
    """Asks ComfyUI's server, where there is one, to show each prompt to `on_prompt`."""
    try:
        from server import PromptServer
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    handlers = getattr(server, "on_prompt_handlers", None)
    if handlers is not None and on_prompt not in handlers:
        server.add_on_prompt_handler(on_prompt)


def error_of(node_id: object) -> str | None:
    """What the look at the prompt now being validated found wrong with that node."""
    return (_errors.get() or {}).get(str(node_id))


def on_prompt(request: dict) -> dict:
    """Checks the queued prompt and returns the request as it came."""
    _errors.set(None)
    graph = PromptGraph(request.get("prompt"))
    if not any(node.type.startswith("LTXDuo") for node in graph.nodes.values()):
        return request
    from ..preflight import check
    from ..preflight.room import check_room

    report = check(graph, OpenedFiles(), has_gpu=not mm.is_device_cpu(mm.get_torch_device()))
    check_room(graph, _size_of, _machine(), report)
    _errors.set(report.errors)
    if report.warnings and not report.errors:
        found = [{"node": node.id, "title": _title(node), "text": text} for node, text in report.warnings]
        for warning in found:
            log.warning("LTX Duo: %s (node %s): %s", warning["title"], warning["node"], warning["text"])
        _show(found, request.get("client_id"))
    return request


class OpenedFiles:
    """preflight.Files by ComfyUI's model folders; headers only, and each read once.

    A model that its own loader refuses is not there: what does not go with it is not at fault.
    """

    def checkpoint(self, loader: Node) -> Checkpoint | None:
        from .models import check_model

        name, folders = _file_of(loader)
        try:
            if loader.type == names.MODEL_LOADER:
                check_model(name, folders)
            return files.open_checkpoint(name, folders) if name else None
        except LTXError:
            return None  # the loader says so itself

    def lora(self, loader: Node) -> LoRA | None:
        name = loader.value("lora", str)
        try:
            return LoRA.open(files.path(name, names.LORA_FOLDERS)) if name else None
        except LTXError:
            return None

    def paths(self, loader: Node) -> list[Path]:
        found = []
        for slot, folders in _SLOTS[loader.type].items():
            name = loader.value(slot, str)
            try:
                path = Path(files.path(name, folders)) if name and name != names.SAME_FILE else None
            except LTXError:
                continue
            if path is not None:
                found += sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        return found


_SLOTS = {
    names.MODEL_LOADER: {"checkpoint": names.MODEL_FOLDERS},
    names.LORA_LOADER: {"lora": names.LORA_FOLDERS},
    names.VAE_LOADER: {"checkpoint": names.VAE_FOLDERS, "audio_file": names.VAE_FOLDERS},
    names.TEXT_ENCODER_LOADER: {"text_encoder": names.ENCODER_FOLDERS, "projection": names.PROJECTION_FOLDERS},
    names.UPSAMPLER_LOADER: {"upsampler": names.UPSAMPLER_FOLDERS},
}


def _file_of(loader: Node) -> tuple[str | None, tuple[str, ...]]:
    inputs = {
        names.MODEL_LOADER: ("checkpoint", names.MODEL_FOLDERS),
        names.VAE_LOADER: ("checkpoint", names.VAE_FOLDERS),
        names.TEXT_ENCODER_LOADER: ("projection", names.PROJECTION_FOLDERS),
        names.UPSAMPLER_LOADER: ("upsampler", names.UPSAMPLER_FOLDERS),
    }
    slot, folders = inputs[loader.type]
    return loader.value(slot, str), folders


def _size_of(loader: Node) -> int | None:
    found = files.fingerprint(*_file_of(loader))
    return None if found is None else sum(size for _, size in found)


def _machine():
    from ..preflight.room import Machine

    cpu, device = torch.device("cpu"), mm.get_torch_device()
    vram = 0 if mm.is_device_cpu(device) else mm.get_total_memory(device)
    free_disk = shutil.disk_usage(folder_paths.get_output_directory()).free
    return Machine(mm.get_total_memory(cpu), mm.get_free_memory(cpu), vram, free_disk)


def _title(node: Node) -> str:
    import nodes as comfyui_nodes

    return comfyui_nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node.type) or node.type


def _show(warnings: list[dict], client_id: str | None) -> None:
    """To the extension in web/, which shows them as toasts."""
    from server import PromptServer

    PromptServer.instance.send_sync(EVENT, {"warnings": warnings}, client_id)
