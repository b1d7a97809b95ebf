"""A whole denoise: stage one's guided steps and stage two's, by the samplers themselves."""

import time

import torch
from workload import CASES, Scene

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.precompile import finish_transformer
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import sample_stage
from ltx_duo.ltx_core.transformer.model import AVTransformer


def run(model: AVTransformer, scene: Scene, steps: int, seed: int) -> dict[str, float]:
    """Seconds of each stage, from noise to latent.

    Stage one works at the scene's size; the latent that stage two refines is stage one's, enlarged by repetition, since
    what the upsampler makes of it does not change the time.
    """
    device, dtype, small = scene.video.device, scene.video.dtype, scene.case.geometry
    large = CASES["stage-two"].geometry if small == CASES["stage-one"].geometry else _doubled(small)
    contexts = Contexts(*scene.contexts[0], *scene.contexts[1])
    generator = torch.Generator(device).manual_seed(seed)
    placement = {"dtype": dtype, "device": device}
    begin = _now(device)
    stage = two_stage.stage_one(small, ltx2_sigmas(steps), LTX_2_3_DEV)
    finish_transformer(model, dtype, device)
    first = sample_stage(model, stage, contexts, generator, **placement, run_blocks=BlockGraphs())
    middle = _now(device)
    video = first.video.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    latent = two_stage.AVLatent(video, first.audio)
    stage = two_stage.stage_two(large, latent)
    second = sample_stage(model, stage, contexts, generator, **placement, run_blocks=BlockGraphs())
    end = _now(device)
    assert torch.isfinite(second.video).all() and torch.isfinite(second.audio).all()
    return {"stage one": middle - begin, "stage two": end - middle, "together": end - begin}


def _doubled(geometry):
    return type(geometry)(geometry.width * 2, geometry.height * 2, geometry.frames, geometry.fps)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
