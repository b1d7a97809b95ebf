"""Scenes: drawn by lot from a seed, moving as their names say."""

import math
import random
from dataclasses import fields, replace
from itertools import combinations

import pytest
import torch

from ltx_duo.demo_model.world import Scene, bounce_times, draw_scene
from ltx_duo.demo_model.world.motion import track
from ltx_duo.demo_model.world.palette import BACKGROUNDS, COLOURS
from ltx_duo.demo_model.world.scenes import FPS, FRAMES, SIZES, floor


def test_same_seed_same_scene_and_all_values_occur():
    first, second = random.Random(5), random.Random(5)
    scenes = [draw_scene(first) for _ in range(600)]
    assert scenes == [draw_scene(second) for _ in range(600)]
    for field, number in {"shape": 4, "colour": 8, "motion": 8, "size": 2, "background": len(BACKGROUNDS)}.items():
        assert len({getattr(scene, field) for scene in scenes}) == number


def test_fixed_values_stay(lots):
    for field in fields(Scene):
        value = getattr(draw_scene(lots, shape="square"), field.name)
        assert getattr(draw_scene(lots, **{"shape": "square", field.name: value}), field.name) == value
    assert {draw_scene(lots, motion="rotating").shape for _ in range(200)} == {"square", "triangle", "star"}


def test_wrong_values_are_named(lots):
    with pytest.raises(ValueError, match="colour 'pink': must be one of red, green"):
        draw_scene(lots, colour="pink")
    with pytest.raises(ValueError, match="no speed"):
        draw_scene(lots, speed=2)
    with pytest.raises(ValueError, match="rotating circle"):
        draw_scene(lots, shape="circle", motion="rotating")


def test_colours_are_far_apart():
    for first, second in combinations(COLOURS.values(), 2):
        assert math.dist(first, second) > 0.35
    for rgb in COLOURS.values():
        for _, first, last in BACKGROUNDS.values():
            for share in (0, 0.25, 0.5, 0.75, 1):
                ground = [a + (b - a) * share for a, b in zip(first, last, strict=True)]
                assert math.dist(rgb, ground) > 0.35


def test_motions_are_what_they_are_called(every_kind):
    times = torch.arange(FRAMES) / FPS
    for scene, x, y, radius, angle in zip(every_kind, *vars(track(every_kind, times)).values(), strict=True):
        moved = {"left": x[0] - x[-1], "right": x[-1] - x[0], "up": y[0] - y[-1], "down": y[-1] - y[0]}
        expected = {"left": 0, "right": 0, "up": 0, "down": 0}
        if scene.motion in moved:
            opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}[scene.motion]
            expected |= {scene.motion: 0.4, opposite: -0.4}
        if scene.motion != "bouncing":
            assert {way: round(float(part), 4) for way, part in moved.items()} == pytest.approx(expected, abs=1e-4)
        assert bool(radius[-1] > 1.6 * radius[0]) == (scene.motion == "growing")
        assert bool(angle[-1] - angle[0] > 150) == (scene.motion == "rotating")
        assert radius[0] == pytest.approx(SIZES[scene.size])


def test_a_bouncing_shape_falls_freely_and_turns_at_the_floor(lots):
    for _ in range(20):
        scene = draw_scene(lots, motion="bouncing")
        bounces = bounce_times(scene)
        assert len(bounces) == 2
        assert bounces[1] < (FRAMES - 3) / FPS  # seen and heard before the clip ends
        y = track([scene], torch.tensor([0.0, *bounces])).y[0].tolist()
        assert y == pytest.approx([scene.y, floor(scene), floor(scene)], abs=1e-5)
        times = torch.linspace(0, FRAMES / FPS, 1000)
        y = track([scene], times).y[0]
        assert y.max() <= floor(scene) + 1e-6
        change = y.diff().diff()  # constant downwards, but at the bounces
        assert int((change < 0).sum()) <= 2 * len(bounces)
        assert change.median() > 0


def test_only_bouncing_scenes_bounce(every_kind):
    assert all(bool(bounce_times(scene)) == (scene.motion == "bouncing") for scene in every_kind)
    fallen = draw_scene(random.Random(0), motion="bouncing")
    assert bounce_times(replace(fallen, y=floor(fallen)))[0] == 0
