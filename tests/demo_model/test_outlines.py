"""The outline of a clip, which the IC-LoRA is given."""

import pytest
import torch
from torch.nn.functional import max_pool2d

from ltx_duo.demo_model.detectors import seen
from ltx_duo.demo_model.world import draw_scene, outline, render


@pytest.mark.parametrize("size", [64, 128])
def test_white_where_the_shape_ends_and_black_elsewhere(lots, size):
    for scene in (draw_scene(lots) for _ in range(8)):
        clip = render([scene], size, size)
        drawn = outline(clip)
        assert drawn.shape == clip.shape and set(drawn.unique().tolist()) == {-1.0, 1.0}
        found = seen((clip[0].permute(1, 2, 3, 0) + 1) / 2)
        white = drawn[0, 0] > 0
        assert not white[found.background].any()  # nor where a gradient runs
        assert white.any(dim=(1, 2)).all() and 0.002 < white.float().mean() < 0.12
        # A line one or two pixels wide, which nothing of the shape's inside is.
        inside = -max_pool2d(-white.float(), 5, 1, 2)
        assert not inside.any()


def test_outlines_of_both_colours_are_alike(lots):
    """It tells shape and path, not the colour."""
    scene = draw_scene(lots, colour="white", background="slate")
    white, red = (
        outline(render([type(scene)(**{**vars(scene), "colour": name})], 64, 64)) for name in ("white", "red")
    )
    assert (white != red).float().mean() < 0.01
    assert torch.equal(white[:, 0], white[:, 2])
