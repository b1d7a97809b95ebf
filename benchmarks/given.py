"""What it costs that something is given: one step of a stage for an image, for a sound, and for a retake; and what a
step costs that reuses guidance.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from workload import Case, Scene

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, Kept
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts
from ltx_duo.ltx_core.sampling.stage import AVLatent, Stage, begin
from ltx_duo.ltx_core.transformer.model import AVTransformer

IMAGE, SOUND, RETAKE, REUSED = "ours, image given", "ours, sound given", "ours, retake", "ours, guidance reused"


def calls(model: AVTransformer, scene: Scene, seed: int) -> dict[str, Callable]:
    """One prediction of the stage that the scene's size and guidance stand for, by what is given; the image first."""
    stages = _stages(scene, seed)
    if scene.case.guided:
        stages[REUSED] = replace(stages[IMAGE], guidance=replace(LTX_2_3_DEV, reuse=True))
    return {name: _step(model, scene, stage, seed) for name, stage in stages.items()}


def _stages(scene: Scene, seed: int) -> dict[str, Stage]:
    geometry, device = scene.case.geometry, scene.video.device
    generator = torch.Generator(device).manual_seed(seed)
    film, sound = (
        torch.randn(1, *shape, generator=generator, device=device).to(scene.video.dtype)
        for shape in (geometry.video_shape, geometry.audio_shape)
    )
    window = slice(film.shape[2] // 3, 2 * film.shape[2] // 3)
    picture_mask, sound_mask = torch.zeros(1, *film.shape[2:]), torch.zeros(1, sound.shape[2])
    picture_mask[:, window] = 1
    sound_mask[:, sound.shape[2] // 3 : 2 * sound.shape[2] // 3] = 1
    given = {
        IMAGE: {"conditions": [FirstFrame(film[:, :, :1], strength=1.0)]},
        SOUND: {"audio": Kept(sound)},
        RETAKE: {"video": Kept(film, picture_mask), "audio": Kept(sound, sound_mask)},
    }
    return {name: _stage(scene.case, AVLatent(film, sound), what) for name, what in given.items()}


def _stage(case: Case, latent: AVLatent, given: dict) -> Stage:
    if case.guided:
        return two_stage.stage_one(case.geometry, torch.tensor([1.0, 0.0]), LTX_2_3_DEV, **given)
    return two_stage.stage_two(case.geometry, latent, **given)


def _step(model: AVTransformer, scene: Scene, stage: Stage, seed: int) -> Callable:
    device, contexts = scene.video.device, Contexts(*scene.contexts[0], *scene.contexts[1])
    state = begin(stage, torch.Generator(device).manual_seed(seed), dtype=scene.video.dtype, device=device)
    denoise = guided_denoiser(model, state, stage.guidance, contexts, run_blocks=BlockGraphs())
    if stage.guidance.reuse:
        before = denoise(state, torch.tensor(0.99), 0)
        before = denoise(state, torch.tensor(0.98), 2, before)
        return lambda: denoise(state, torch.tensor(0.97), 3, before)
    sigma = stage.sigmas[0].to(device)
    return lambda: denoise(state, sigma, 0)
