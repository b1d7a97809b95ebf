import random
from collections.abc import Callable

import pytest
from torch import Tensor

from ltx_duo.demo_model.world import Scene, draw_scene, render
from ltx_duo.demo_model.world.scenes import MOTIONS, SHAPES

# A circle that rotates cannot be told from one that stands still; the world has none.
KINDS = [(shape, motion) for shape in SHAPES for motion in MOTIONS if (shape, motion) != ("circle", "rotating")]


@pytest.fixture
def lots(rng) -> random.Random:
    """The fresh seed of `rng`, for what draws by Python's own generator."""
    return random.Random(rng.initial_seed())


@pytest.fixture
def every_kind(lots) -> list[Scene]:
    """A scene of each shape in each motion; all else by lot."""
    return [draw_scene(lots, shape=shape, motion=motion) for shape, motion in KINDS]


@pytest.fixture
def film() -> Callable[[Scene, int], Tensor]:
    """`film(scene, size)`: the drawn clip as the detectors and ComfyUI have it, (F, H, W, 3) in 0..1."""

    def draw(scene: Scene, size: int) -> Tensor:
        return (render([scene], size, size)[0].permute(1, 2, 3, 0) + 1) / 2

    return draw
