"""Which loader a model comes from, ours or one of ComfyUI's own, and what its file's header tells of it."""

from collections.abc import Sequence

from ...ltx_core.checkpoint import Checkpoint, Component
from ...ltx_core.generation import Generation
from .. import from_core
from ..names import CORE_MODEL_LOADERS, MODEL_LOADER
from ..prompt_graph import Node, PromptGraph
from .report import Files, Report

# Where ComfyUI looks for the format of scaled weights.
FORMATS = (".comfy_quant", "scaled_fp8")
FORMATS_IN_METADATA = "_quantization_metadata"
CONNECTORS = {Component.VIDEO_CONNECTOR, Component.AUDIO_CONNECTOR}


def check_core_loader(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """A file that one of ComfyUI's loaders gives as MODEL is one that is run, is whole, and is read there as what it
    is."""
    loader = model_loader(list(graph.chain(sampler, "model")))
    if loader is None or loader.type not in CORE_MODEL_LOADERS or (checkpoint := files.checkpoint(loader)) is None:
        return
    if Component.TRANSFORMER not in checkpoint.components:
        return
    if not from_core.is_taken(checkpoint.generation):
        report.error(sampler, f"{checkpoint.path.name}, from {loader.type}, is of {checkpoint.generation_name}, which "
                     f"{from_core.refusal(checkpoint.generation)}. Open it with LTX Model Loader, or choose a file of "
                     f"{from_core.NAMES}, such as ltx-2.3-22b-dev.safetensors.", input="model")  # fmt: skip
    elif not checkpoint.components >= CONNECTORS:
        report.error(sampler, f"{checkpoint.path.name}, from {loader.type}, lacks text connectors, and ComfyUI would "
                     "go on with weights that were never set: the film would not be that of the prompt. Open it with "
                     "LTX Model Loader, which takes them from another file (its advanced input connectors), or choose "
                     "a file that has them.", input="model")  # fmt: skip
    names = checkpoint.tensors(Component.TRANSFORMER)
    scaled = any(name.endswith(".weight_scale") for name in names)
    if scaled and FORMATS_IN_METADATA not in checkpoint.metadata and not any(name.endswith(FORMATS) for name in names):
        report.warn(sampler, f"{checkpoint.path.name} holds fp8 weights with scales but not their format, so that "
                    f"{loader.type} may leave the scales out: the film is then noise. Open it with LTX Model "
                    "Loader.")  # fmt: skip


def model_loader(loaders: Sequence[Node]) -> Node | None:
    """The node among `loaders` that opens the model's file."""
    return next((node for node in loaders if node.type in (MODEL_LOADER, *CORE_MODEL_LOADERS)), None)


def generation_of(model: Checkpoint | None) -> Generation | None:
    """Of an opened model file; None where nothing tells."""
    return None if model is None else model.generation


def model_file(loaders: Sequence[Node], files: Files) -> Checkpoint | None:
    """The model's opened file; None for one that is not known, or that the model is refused for."""
    loader = model_loader(loaders)
    checkpoint = None if loader is None else files.checkpoint(loader)
    if checkpoint is None or (loader.type in CORE_MODEL_LOADERS and not from_core.is_taken(checkpoint.generation)):
        return None
    return checkpoint
