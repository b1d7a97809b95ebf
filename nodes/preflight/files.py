"""Files that are used together are of one generation, and of sizes that fit."""

from collections.abc import Iterator

from ...ltx_core.checkpoint import Checkpoint, Component, common_generation
from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA
from ...ltx_core.transformer.params import TransformerParams
from ..names import LORA_LOADER, TEXT_ENCODER_LOADER, UPSAMPLER_LOADER, VAE_LOADER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .report import Files, Report

LOADERS_BESIDE = (VAE_LOADER, TEXT_ENCODER_LOADER, UPSAMPLER_LOADER)
# What is as long as the text that a projection makes is wide; in LTX-2.0's, which is one for both, the rows are.
PROJECTIONS = {"video": "video_aggregate_embed.bias", "audio": "audio_aggregate_embed.bias"}
ONE_FOR_BOTH = "aggregate_embed.weight"


def check_files(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """Files that are used together are of one generation, and of sizes that fit."""
    loaders = list(graph.chain(sampler, "model"))
    model = model_file(loaders, files)
    if (params := transformer_params(model)) is None:
        return
    for loader in loaders:
        if loader.type == LORA_LOADER and (lora := files.lora(loader)) is not None:
            report.attempt(loader, _check_lora, files, model, lora)
    for loader in _loaders_beside(graph, sampler):
        if (other := files.checkpoint(loader)) is None:
            continue
        report.attempt(loader, check_generations, model, other)
        if loader.type == TEXT_ENCODER_LOADER:
            report.attempt(loader, check_projection, params, model, other)


def _check_lora(files: Files, model: Checkpoint, lora: LoRA) -> None:
    lora.check(files.lora_shapes(model), model.path.name)


def _loaders_beside(graph: PromptGraph, sampler: Node) -> Iterator[Node]:
    """The loaders of what works together with a sampler's model."""
    for name in ("vae", "positive", "negative", "latent"):
        source = graph.source(sampler, name)
        if source is None:
            continue
        near = [source, *(graph.source(source, slot) for slot in ("text_encoder", "upsampler", "vae"))]
        yield from (node for node in near if node is not None and node.type in LOADERS_BESIDE)


def check_generations(model: Checkpoint, other: Checkpoint) -> None:
    """VariantError if both tell their generation and it is not one."""
    if model.generation is not None and other.generation is not None:
        common_generation(model, other)


def transformer_params(model: Checkpoint | None) -> TransformerParams | None:
    """The transformer's sizes; None if the file holds none, which its loader says itself."""
    try:
        whole = model is not None and Component.TRANSFORMER in model.components
        return TransformerParams.from_config(model.config) if whole else None
    except LTXError:
        return None


def check_projection(params: TransformerParams, model: Checkpoint, projection: Checkpoint) -> None:
    """LTXError unless the text that the projection makes is as wide as the model takes it."""
    tensors = projection.tensors(Component.TEXT_PROJECTION)
    for modality, name in PROJECTIONS.items():
        expected = params.text_widths[modality]
        found = tensors.get(name) or tensors.get(ONE_FOR_BOTH)
        if found is not None and found.shape[:1] != (expected,):
            raise LTXError(
                f"The text projection in {projection.path.name} makes {modality} text {found.shape[0]} wide, "
                f"but {model.path.name} takes {expected}. Choose the model's own checkpoint as projection."
            )
