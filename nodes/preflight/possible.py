"""Sizes that this computer cannot make, however the work is cut into pieces."""

from dataclasses import replace

from ...ltx_core.errors import GeometryError, LTXError
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.splitting import MOST_CHUNKS
from ...ltx_core.sampling.geometry import LatentGeometry, check_two_stage
from ...ltx_core.transformer.params import TransformerParams
from ..names import FULL, HALF, LATENT_UPSAMPLER, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .files import transformer_params
from .latents import size_of
from .report import Files, Report
from .room import GB, Machine


def check_possible(graph: PromptGraph, files: Files, machine: Machine, report: Report) -> None:
    """Every stage could fit into all of the computer's memory; the size is the first sampler's."""
    memory = machine.ram + machine.vram
    for sampler in graph.of_type(STAGE_ONE_SAMPLER):
        if (own := _stage_one_geometry(sampler)) is not None:
            params = _params(graph, sampler, files)
            report.attempt(sampler, check_stage, "Stage one", own, params, memory, input="width")
    for sampler in graph.of_type(STAGE_TWO_SAMPLER):
        before = list(graph.chain(sampler, "latent"))
        types = [node.type for node in before]
        if types.count(LATENT_UPSAMPLER) != 1 or types[-1] != STAGE_ONE_SAMPLER:
            continue
        if (own := _stage_one_geometry(before[-1])) is not None:
            params, doubled = _params(graph, sampler, files), replace(own, width=2 * own.width, height=2 * own.height)
            report.attempt(before[-1], check_stage, "Stage two", doubled, params, memory, input="width")


def check_stage(stage: str, geometry: LatentGeometry, params: TransformerParams | None, memory: float) -> None:
    """GeometryError unless the least that the stage needs at its own size is within `memory`, in bytes.

    Without `params` only what does not depend on the model counts.
    """

    def least(geometry: LatentGeometry) -> float:
        network = 0 if params is None else memory_estimates.transformer(params, geometry, rows=1, chunks=MOST_CHUNKS)
        return memory_estimates.sampling_state(geometry) + network

    if (need := least(geometry)) > memory:
        raise GeometryError(
            f"{stage} at {geometry.width}x{geometry.height}, {geometry.frames} frames and {geometry.fps:g} fps needs "
            f"{need / GB:.3g} GB of memory at least, this computer has {memory / GB:.3g} GB in all (RAM and VRAM). "
            "Choose a smaller size or fewer frames."
        )


def _stage_one_geometry(sampler: Node) -> LatentGeometry | None:
    """What stage one works at, as far as it is known."""
    size = [sampler.value(name, int) for name in ("width", "height", "frames")]
    fps = sampler.value("fps", (int, float))
    share = size_of(sampler)
    if None in size or fps is None or share not in (HALF, FULL):
        return None
    try:
        final = check_two_stage(*size, fps)
        return final if share == FULL else final.half()
    except LTXError:
        return None  # the node says so itself


def _params(graph: PromptGraph, sampler: Node, files: Files) -> TransformerParams | None:
    return transformer_params(model_file(list(graph.chain(sampler, "model")), files))
