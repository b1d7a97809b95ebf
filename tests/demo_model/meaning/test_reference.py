"""The miniature's IC-LoRA: what moves follows the outlines that it reads, where the prompt tells no motion."""

import random
from statistics import median

import pytest
import torch
from torch import Tensor

from ltx_duo.demo_model.detectors import seen
from ltx_duo.demo_model.world import Scene, draw_scene, outline, render
from ltx_duo.demo_model.world.scenes import FPS, FRAMES
from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import GivenReference
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.tests.demo_model.meaning.studio import NEGATIVE_PROMPT, PACK, STEPS

IC_LORA = PACK / "demo_model" / "files" / "loras" / "ltx-2.3-demo-ic-lora-outline.safetensors"
SIZE = 128  # stage one's, where the LoRA reads half of it
NEAR, FAR = 3.0, 12.0  # pixels of that size: the most with the LoRA, the least without
SCENES = (
    ("orange triangle", "right"),
    ("red star", "left"),
    ("blue square", "down"),
    ("green circle", "up"),
    ("white circle", "bouncing"),
)


def scene_of(words: str, motion: str) -> Scene:
    colour, shape = words.split()
    return draw_scene(random.Random(words), colour=colour, shape=shape, motion=motion)


def frames_of(clip: Tensor) -> Tensor:
    """(F, H, W, 3) in 0..1 of (3, F, H, W) in -1..1."""
    return (clip.permute(1, 2, 3, 0) + 1) / 2


def strayed(model, words: str, motion: str, *, reads: bool) -> float:
    """Mean distance of the shape's centre from the drawn one, in pixels."""
    drawn = render([scene_of(words, motion)], SIZE, SIZE, FRAMES)[0]
    half = outline(render([scene_of(words, motion)], SIZE // 2, SIZE // 2, FRAMES))[0]
    request = Request(
        f"an animation of a {words}",
        LatentGeometry(SIZE, SIZE, FRAMES, FPS),
        negative_prompt=NEGATIVE_PROMPT,
        steps=STEPS,
        one_stage=True,
        references=[GivenReference(frames_of(half))] if reads else (),
    )
    loras = [StagedLoRA(LoRA.open(IC_LORA), 1.0, 0.0)] if reads else []
    made = two_stage.generate(model.components, request, loras=loras).frames
    ways = [seen(film).centres for film in (made, frames_of(drawn))]
    return float((ways[0] - ways[1]).norm(dim=-1).mean()) * SIZE


@pytest.fixture(scope="module")
def distances(model) -> dict[bool, list[float]]:
    with torch.no_grad():
        return {reads: [strayed(model, *scene, reads=reads) for scene in SCENES] for reads in (True, False)}


def test_what_moves_follows_the_outlines(distances):
    assert median(distances[True]) < NEAR, distances


def test_without_the_lora_it_goes_its_own_way(distances):
    assert min(distances[False]) > NEAR and median(distances[False]) > FAR, distances
