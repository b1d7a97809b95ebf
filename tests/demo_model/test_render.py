"""Pictures: the named colours and shapes at their places, the same at every size and in every batch."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d

from ltx_duo.demo_model.world import draw_scene, drawing, render
from ltx_duo.demo_model.world.palette import BACKGROUNDS, COLOURS
from ltx_duo.demo_model.world.scenes import FPS, SHAPES


def test_shapes_stay_inside_the_picture(every_kind):
    clips = render(every_kind, 64, 64)
    for border in (clips[..., :1, :], clips[..., -1:, :], clips[..., :1], clips[..., -1:]):
        assert (border - border[:, :, :1]).abs().max() < 1e-6


def test_colours_and_backgrounds_are_the_named_ones(lots):
    for name, colour in COLOURS.items():
        scene = draw_scene(lots, shape="circle", colour=name, motion="still")
        frame = render([scene], 64, 64, frames=1)[0, :, 0]
        centre = frame[:, int(scene.y * 64), int(scene.x * 64)]
        assert ((centre + 1) / 2).tolist() == pytest.approx(colour, abs=1e-5)
    for name, (direction, first, last) in BACKGROUNDS.items():
        frame = (render([draw_scene(lots, background=name)], 64, 64, frames=1)[0, :, 0] + 1) / 2
        step = (torch.tensor(last) - torch.tensor(first)) / 128
        corner = torch.tensor(first) + step
        assert frame[:, 0, 0].tolist() == pytest.approx(corner.tolist(), abs=1e-5)
        down, right = frame[:, -1, 0], frame[:, 0, -1]
        end = (torch.tensor(last) - step).tolist()
        assert down.tolist() == pytest.approx(end if direction == "vertical" else corner.tolist(), abs=1e-5)
        assert right.tolist() == pytest.approx(end if direction == "horizontal" else corner.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", 3.1416), ("square", 2 * 1.2**2), ("triangle", 1.299 * 1.3**2), ("star", 2.086)]
)
def test_area_of_each_shape(lots, shape, area):
    """In squares of the radius; the star's is 5 * reach * notch * sin(36 degrees) * reach."""
    scene = draw_scene(lots, shape=shape, colour="white", background="slate", motion="still", size="large")
    frame = render([scene], 256, 256, frames=1)[0, 0, 0]
    share = (frame - frame.min()) / (frame.max() - frame.min())
    assert float(share.mean()) / 0.17**2 == pytest.approx(area, rel=0.01)


def test_edges_are_a_pixel_soft_at_every_size(lots):
    scene = draw_scene(lots, shape="circle", colour="white", background="slate", motion="still", size="large")
    for size in (64, 256):
        frame = render([scene], size, size, frames=1)[0, 0, 0]
        share = (frame - frame.min()) / (frame.max() - frame.min())
        border = ((share > 0.001) & (share < 0.999)).sum()
        assert 0.8 < border / (2 * math.pi * 0.17 * size) < 1.3


def test_triangle_and_star_point_upwards(lots):
    for shape in ("triangle", "star"):
        scene = draw_scene(lots, shape=shape, colour="white", background="slate", motion="still")
        frame = render([scene], 128, 128, frames=1)[0, 0, 0]
        wide = (frame > 0.5).sum(dim=1)
        rows = wide.nonzero().flatten()
        assert wide[rows[0]] <= 3
        assert (rows[0] + 0.5) / 128 == pytest.approx(
            scene.y - SHAPES[shape].reach * {"small": 0.11, "large": 0.17}[scene.size], abs=0.03
        )


def test_half_the_size_shows_the_same(every_kind):
    """Stage one and stage two compare with the same scene."""
    for scene in every_kind[::3]:
        large = render([scene], 256, 256, frames=33)[0].transpose(0, 1)
        small = render([scene], 128, 128, frames=33)[0].transpose(0, 1)
        error = (avg_pool2d(large, 2) - small) / 2
        assert error.abs().max() < 0.3  # tips
        assert -10 * error.square().mean().log10() > 40


def test_batch_chunks_and_frames_change_nothing(every_kind, monkeypatch):
    scenes = every_kind[:5]
    together = render(scenes, 48, 48)
    assert together.shape == (5, 3, 33, 48, 48)
    assert together.dtype == torch.float32
    assert together.abs().max() <= 1
    torch.testing.assert_close(torch.cat([render([scene], 48, 48) for scene in scenes]), together)
    torch.testing.assert_close(render(scenes, 48, 48, frames=9), together[:, :, :9])
    monkeypatch.setattr(drawing, "CHUNK", 2 * 33 * 48 * 48)
    torch.testing.assert_close(render(scenes, 48, 48), together)


def test_a_scene_ends(every_kind):
    with pytest.raises(ValueError, match="34 frames"):
        render(every_kind[:1], 32, 32, frames=34)


def test_one_frame_at_a_time_is_a_24th_of_a_second(lots):
    scene = draw_scene(lots, shape="circle", motion="right", colour="white", background="slate")
    clip = render([scene], 128, 128)[0, 0]
    share = (clip - clip.amin()) / (clip.amax() - clip.amin())
    x = (share.sum(dim=1) @ (torch.arange(128) + 0.5)) / share.sum(dim=(1, 2)) / 128
    assert x.tolist() == pytest.approx([scene.x + 0.3 * frame / FPS for frame in range(33)], abs=1e-3)
