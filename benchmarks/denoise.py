"""A whole denoise: stage one's steps and stage two's, by the samplers themselves, as recipes have them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from workload import CASES, Case, Scene

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.precompile import finish_transformer
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, LTX_2_3_HQ, OFF, Contexts, Guidance
from ltx_duo.ltx_core.sampling.samplers import named_sampler
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import sample_stage
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.variants import Kind, variant_of


@dataclass(frozen=True)
class Recipe:
    """Stage one's size, noise levels for so many steps, and guidance, and the sampler of both stages.

    runs: how often it is run; the last one counts, so that after the first nothing is compiled any more.
    """

    case: Case
    sigmas: Callable[[int], torch.Tensor]
    steps: int
    guidance: Guidance
    sampler: str = "euler"
    runs: int = 2


DENOISE = "denoise"
RECIPES = {
    # The record's, which has always been of a process that has run nothing whole before.
    DENOISE: Recipe(CASES["stage-one"], ltx2_sigmas, 30, LTX_2_3_DEV, runs=1),
    "distilled": Recipe(
        Case("distilled, stage one of 768x512", 384, 256, 121, guided=False),
        variant_of(Kind.DISTILLED).stage_one_schedule, 8, OFF,
    ),
    "high-quality": Recipe(
        Case("high quality, stage one of 1920x1088", 960, 544, 25, guided=True), ltx2_sigmas, 15, LTX_2_3_HQ, "res_2s"
    ),
}  # fmt: skip


def run(model: AVTransformer, scene: Scene, recipe: Recipe, steps: int, seed: int) -> dict[str, float]:
    """Seconds of each stage, from noise to latent, of the recipe's last run.

    Stage one works at the scene's size, stage two at twice it; the latent that stage two refines is stage one's,
    enlarged by repetition, since what the upsampler makes of it does not change the time.
    """
    for _ in range(recipe.runs):
        seconds = _run(model, scene, recipe, steps, seed)
    return seconds


def _run(model: AVTransformer, scene: Scene, recipe: Recipe, steps: int, seed: int) -> dict[str, float]:
    device, dtype, small = scene.video.device, scene.video.dtype, scene.case.geometry
    large = type(small)(small.width * 2, small.height * 2, small.frames, small.fps)
    sampler = named_sampler(recipe.sampler, seed)
    contexts = Contexts(*scene.contexts[0], *scene.contexts[1])
    generator = torch.Generator(device).manual_seed(seed)
    placement = {"dtype": dtype, "device": device}
    begin = _now(device)
    stage = two_stage.stage_one(small, recipe.sigmas(steps), recipe.guidance, sampler=sampler)
    finish_transformer(model, dtype, device)
    first = sample_stage(model, stage, contexts, generator, **placement, run_blocks=BlockGraphs())
    middle = _now(device)
    video = first.video.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    latent = two_stage.AVLatent(video, first.audio)
    stage = two_stage.stage_two(large, latent, sampler=sampler)
    second = sample_stage(model, stage, contexts, generator, **placement, run_blocks=BlockGraphs())
    end = _now(device)
    assert torch.isfinite(second.video).all() and torch.isfinite(second.audio).all()
    return {"stage one": middle - begin, "stage two": end - middle, "together": end - begin}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
