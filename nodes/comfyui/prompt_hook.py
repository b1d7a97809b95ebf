"""Preflight in ComfyUI: looks at each prompt when it is queued, before ComfyUI validates it and reads any weight.

ComfyUI hands every queued prompt to its on-prompt handlers and validates it right after, in the same request.  Errors
wait in a context variable until `validate_inputs` of the node that owns them asks (see validation.py); warnings go to
the log and to the browser that queued the prompt.  A prompt that comes another way is checked by the nodes as they run.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import torch

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import LTXError
from ...ltx_core.loading import lora_shapes
from ...ltx_core.lora import LoRA
from ...ltx_core.safetensors_file import SafetensorsFile
from ...ltx_core.usable import Use
from .. import names
from ..declared import widgets
from ..preflight import check
from ..preflight.possible import check_possible
from ..preflight.report import Report
from ..preflight.room import Machine, check_room
from ..prompt_graph import Node, PromptGraph
from ..validation import Messages, Placed, check_inputs, place, placed, validation_of
from . import files, latent_files

log = logging.getLogger("ltx_duo")

EVENT = "ltx_duo.preflight"


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


def on_prompt(request: dict) -> dict:
    """Checks the queued prompt and returns the request, in which names of files have this system's separators."""
    placed.set(None)
    prompt = request.get("prompt")
    classes = _classes(PromptGraph(prompt))
    if not classes:
        return request
    respell_files(PromptGraph(prompt), classes)
    defaults = {
        kind: {name: widget.default for name, widget in widgets(node).items() if widget.optional}
        for kind, node in classes.items()
    }
    graph = PromptGraph(prompt, defaults)
    ours = [node for node in graph.nodes.values() if node.type in classes]
    own, theirs = {}, {}
    for node in ours:
        own[node.id], theirs[node.id] = check_inputs(node, classes[node.type])
    graph.refused = {node.id: own[node.id].keys() | theirs[node.id].keys() for node in ours}
    report = _checked(graph)
    for node in ours:
        for name, text in report.wrong.get(node.id, {}).items():
            own[node.id].setdefault(_shown_under(name, node, classes[node.type]), text)
    placed.set(_place_all(graph, classes, own, theirs))
    if report.warnings and not any(own.values()) and not any(theirs.values()):
        warnings = [{"node": node.id, "title": _title(node), "text": text} for node, text in report.warnings]
        for warning in warnings:
            log.warning("LTX Duo: %s (node %s): %s", warning["title"], warning["node"], warning["text"])
        _show(warnings, request.get("client_id"))
    return request


def respell_files(graph: PromptGraph, classes: Mapping[str, type]) -> None:
    """Names of files as the lists have them: ComfyUI refuses `folder\\file` of a workflow from Windows elsewhere."""
    for kind, node_class in classes.items():
        lists = {name: widget.choices for name, widget in widgets(node_class).items() if widget.names_file}
        for node in graph.of_type(kind):
            for name, choices in lists.items():
                value = node.inputs.get(name)
                if not isinstance(value, str) or value in choices or not isinstance(node.inputs, dict):
                    continue
                plain = value.replace("\\", "/")
                node.inputs[name] = next((c for c in choices if c.replace("\\", "/") == plain), value)


def _checked(graph: PromptGraph) -> Report:
    """What the rules for whole prompts find.  A fault in one of them must not cost the checks of single nodes."""
    try:
        opened, machine = OpenedFiles(), _machine()
        report = check(graph, opened, has_gpu=not mm.is_device_cpu(mm.get_torch_device()))
        check_possible(graph, opened, machine, report)
        check_room(graph, _size_of, machine, report)
        return report
    except Exception:
        log.exception("LTX Duo: this prompt could not be checked as a whole; please report it. Its nodes are checked.")
        return Report()


def _classes(graph: PromptGraph) -> dict[str, type]:
    """The node classes of this pack in a prompt, by node type."""
    import nodes as comfyui_nodes

    known = comfyui_nodes.NODE_CLASS_MAPPINGS
    return {
        node.type: known[node.type]
        for node in graph.nodes.values()
        if node.type.startswith("LTXDuo") and node.type in known
    }


def _place_all(graph: PromptGraph, classes: Mapping[str, type], own: Messages, theirs: Messages) -> Placed:
    """All messages of a prompt where ComfyUI is to show them; `theirs` are those that it has itself."""
    messages, names = {}, {}
    for kind, node_class in classes.items():
        nodes = {node.id: node.inputs for node in graph.of_type(kind)}
        if wrong := {node: own[node] for node in nodes if own[node]}:
            shown, names[validation_of(node_class)] = place(nodes, wrong, theirs)
            messages |= shown
    return Placed(messages, names)


def _shown_under(name: str, node: Node, node_class: type) -> str:
    """That input, or the first one where it is not in the prompt: ComfyUI shows nothing under an absent one."""
    inputs = [part.id for part in node_class.define_schema().inputs]
    present = [part for part in inputs if part in node.inputs]
    return name if name in present or not present else present[0]


class OpenedFiles:
    """preflight.Files by ComfyUI's model folders; only headers are read.

    A model that its own loader refuses is not there: what does not go with it is not at fault.
    """

    def checkpoint(self, loader: Node) -> Checkpoint | None:
        from .open_files import check_file

        name, folders = _file_of(loader)
        try:
            if loader.type == names.MODEL_LOADER:
                check_file(name, folders, Use.TRANSFORMER)
            return files.open_checkpoint(name, folders) if name else None
        except LTXError:
            return None  # the loader says so itself

    def opened(self, loader: Node, slot: str, folders: Sequence[str]) -> Checkpoint | None:
        name = loader.value(slot, str)
        try:
            return files.open_checkpoint(name, folders) if name else None
        except LTXError:
            return None  # what ComfyUI can load of it, the node that takes it looks at

    def audio_vae(self, loader: Node) -> Checkpoint | None:
        video, audio = (loader.value(slot, str) for slot in _SLOTS[names.VAE_LOADER])
        name = video if audio == names.SAME_FILE else audio
        try:
            return files.open_checkpoint(name, names.VAE_FOLDERS) if name else None
        except LTXError:
            return None  # the loader says so itself

    def saved_latent(self, loader: Node) -> tuple[int, ...] | None:
        name = loader.value("file", str)
        try:
            file = SafetensorsFile.open(latent_files.path(name)) if name else None
        except LTXError:
            return None
        picture = file.tensors.get(latent_files.VIDEO) if file else None
        return None if picture is None else picture.shape

    def lora(self, loader: Node) -> LoRA | None:
        name = loader.value("lora", str)
        try:
            return files.look_at_lora(name) if name else None
        except LTXError:
            return None

    def lora_shapes(self, model: Checkpoint) -> Mapping[str, Sequence[int]]:
        return lora_shapes(model)

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
    **{kind: {slot: (names.CORE_MODEL_FOLDERS[kind],)} for kind, slot in names.CORE_MODEL_LOADERS.items()},
    names.MODEL_LOADER: {"checkpoint": names.MODEL_FOLDERS, "connectors": names.CONNECTOR_FOLDERS},
    names.LORA_LOADER: {"lora": names.LORA_FOLDERS},
    names.VAE_LOADER: {"checkpoint": names.VAE_FOLDERS, "audio_file": names.VAE_FOLDERS},
    names.TEXT_ENCODER_LOADER: {"text_encoder": names.ENCODER_FOLDERS, "projection": names.PROJECTION_FOLDERS},
    names.UPSAMPLER_LOADER: {"upsampler": names.UPSAMPLER_FOLDERS},
    names.PROMPT_LENGTH: {"duration_head": names.DURATION_FOLDERS},
}


def _file_of(loader: Node) -> tuple[str | None, tuple[str, ...]]:
    slots = _SLOTS[loader.type]
    slot = "projection" if "projection" in slots else next(iter(slots))
    return loader.value(slot, str), slots[slot]


def _size_of(loader: Node) -> int | None:
    found = files.fingerprint(*_file_of(loader))
    return None if found is None else sum(size for _, size in found)


def _machine() -> Machine:
    cpu, device = torch.device("cpu"), mm.get_torch_device()
    vram = 0 if mm.is_device_cpu(device) else mm.get_total_memory(device)
    output = Path(folder_paths.get_output_directory()).resolve()
    # ComfyUI makes the folder when something is saved for the first time.
    existing = next(folder for folder in (output, *output.parents) if folder.is_dir())
    return Machine(mm.get_total_memory(cpu), mm.get_free_memory(cpu), vram, shutil.disk_usage(existing).free)


def _title(node: Node) -> str:
    import nodes as comfyui_nodes

    return comfyui_nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node.type) or node.type


def _show(warnings: list[dict], client_id: str | None) -> None:
    """To the extension in web/, which shows them as toasts."""
    from server import PromptServer

    PromptServer.instance.send_sync(EVENT, {"warnings": warnings}, client_id)
