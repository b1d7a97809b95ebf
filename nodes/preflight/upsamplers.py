"""Latent upsamplers, of which only the name tells what they are for: their tensors are alike in all generations."""

import re
from pathlib import PurePath

from ...ltx_core.variants import Kind, variant_of
from ...ltx_core.variants.upsamplers import remark_on_upsampler
from ..names import LATENT_UPSAMPLER, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file
from .core_vaes import upsampler_loaders
from .latents import latent_chain
from .report import Files, Report

FAULTY = re.compile(r"ltx-2\.3-spatial-upscaler-x2-1\.0\b")


def check_upsamplers(graph: PromptGraph, files: Files, report: Report) -> None:
    """The upsampler is not the faulty one, and by its name of the model's generation."""
    for loader, slot in upsampler_loaders(graph):
        name = PurePath(loader.value(slot, str) or "").name
        if FAULTY.search(name):
            report.warn(loader, "Version 1.0 of the x2 upsampler is known to be faulty (flicker, mosaic). Take 1.1: "
                        f"{variant_of(Kind.DEV).files.upsampler}.")  # fmt: skip
        for model in _models_of(graph, loader, files):
            if remark := remark_on_upsampler(name, model.path.name, model.generation):
                report.warn(loader, remark)


def _models_of(graph: PromptGraph, loader: Node, files: Files):
    """The files of the models whose latents the upsampler enlarges."""
    samplers = STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
    for node in graph.of_type(LATENT_UPSAMPLER):
        source = graph.source(node, "upsampler")
        if source is None or source.id != loader.id:
            continue
        sampler = next((own for own in latent_chain(graph, node) if own.type in samplers), None)
        model = None if sampler is None else model_file(list(graph.chain(sampler, "model")), files)
        if model is not None:
            yield model
