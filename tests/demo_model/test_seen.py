"""What is seen: right on drawn and on spoilt clips, and wrong clips are seen as wrong."""

import pytest
import torch

from ltx_duo.demo_model.detectors import seen
from ltx_duo.demo_model.detectors.backdrop import fit_background
from ltx_duo.demo_model.world import bounce_times, draw_scene
from ltx_duo.demo_model.world.motion import track
from ltx_duo.demo_model.world.palette import COLOURS
from ltx_duo.demo_model.world.scenes import FPS
from ltx_duo.tests.demo_model.degrade import blurred, noisy, stained

RIGHT = 0.98  # the least share of clips whose colour, shape and motion are all recognised


def _told(scene):
    return scene.colour, scene.shape, scene.motion


def _found(video):
    result = seen(video)
    return result.colour, result.shape, result.motion


def _assert_recognised(scenes, films):
    wrong = [(scene, found) for scene, found in zip(scenes, map(_found, films), strict=True) if _told(scene) != found]
    assert len(wrong) <= (1 - RIGHT) * len(scenes), wrong


def test_drawn_clips_are_recognised(rng, every_kind, film):
    scenes = every_kind[rng.initial_seed() % 2 :: 2]
    _assert_recognised(scenes, (film(scene, 128) for scene in scenes))


def test_blurred_and_noisy_clips_are_recognised(lots, rng, every_kind, film):
    scenes = every_kind + [draw_scene(lots, colour=colour) for colour in COLOURS]
    _assert_recognised(scenes, (noisy(blurred(film(scene, 128), 1.5), 0.03, rng) for scene in scenes))


def test_blurred_and_noisy_clips_are_recognised_at_the_final_size(rng, every_kind, film):
    scenes = every_kind[rng.initial_seed() % 3 :: 3]
    _assert_recognised(scenes, (noisy(blurred(film(scene, 256), 1.5), 0.03, rng) for scene in scenes))


def test_pale_clips_on_stained_backgrounds_are_recognised(lots, rng, film):
    scenes = [draw_scene(lots, colour=colour) for colour in COLOURS]
    pale = ((blurred(film(scene, 128), 2.0) - 0.5) * 0.75 + 0.5 for scene in scenes)
    _assert_recognised(scenes, (stained(video, 0.04, rng) for video in pale))


def test_places_sizes_turns_and_bounces_are_measured(lots, rng, film):
    for motion in ("bouncing", "growing", "rotating", "left"):
        scene = draw_scene(lots, motion=motion)
        path = track([scene], torch.arange(33) / FPS)
        result = seen(noisy(blurred(film(scene, 128), 1.5), 0.03, rng))
        torch.testing.assert_close(result.centres[:, 0], path.x[0], atol=0.01, rtol=0)
        torch.testing.assert_close(result.centres[:, 1], path.y[0], atol=0.01, rtol=0)
        grown = (result.areas / result.areas[0]).sqrt()
        torch.testing.assert_close(grown, path.radius[0] / path.radius[0, 0], atol=0.05, rtol=0)
        assert result.turn == pytest.approx(120 if motion == "rotating" else 0, abs=6)
        assert result.bounces == pytest.approx(bounce_times(scene), abs=1 / FPS)


def test_a_stain_of_the_same_colour_does_not_draw_the_eye_away(lots, film):
    scene = draw_scene(lots, motion="right", size="large")
    video = film(scene, 128)
    path = track([scene], torch.arange(33) / FPS)
    top, left = (0 if scene.y > 0.5 else 120), 0
    video[:, top : top + 8, left : left + 8] = torch.tensor(COLOURS[scene.colour])
    result = seen(video)
    assert (result.colour, result.shape, result.motion) == _told(scene)
    torch.testing.assert_close(result.centres[:, 0], path.x[0], atol=0.01, rtol=0)


def test_the_background_is_found_behind_a_shape_at_the_border(lots, film):
    scene = draw_scene(lots, motion="growing", shape="square", background="vertical grey to slate")
    video = film(scene, 128)
    bare = video[0, :, :2].mean(dim=1)[:, None].expand(128, 128, 3)
    moved = torch.cat((video[:, :, int(scene.x * 128) :], bare[:, : int(scene.x * 128)].expand(33, -1, -1, -1)), dim=2)
    assert (fit_background(moved) - bare).abs().max() < 0.01


def test_the_background_is_what_the_shape_leaves_free(lots, film):
    scene = draw_scene(lots, motion="growing", colour="white", background="slate")
    for size in (128, 256):
        video = film(scene, size)
        clear = seen(video).background
        assert clear.shape == video.shape[:3]
        shape = video.amin(dim=-1) > video.amin() + 0.01
        assert not (clear & shape).any()
        assert clear.float().mean() > 0.4
        assert clear[0].sum() > clear[-1].sum()


@pytest.mark.parametrize(
    ("motion", "change", "becomes"),
    [
        ("left", lambda video: video.flip(2), "right"),
        ("right", lambda video: video.flip(2), "left"),
        ("right", lambda video: video.flip(0), "left"),
        ("up", lambda video: video.flip(1), "down"),
        ("down", lambda video: video.transpose(1, 2), "right"),
        ("down", lambda video: video[:1].expand_as(video), "still"),
        ("rotating", lambda video: video[:1].expand_as(video), "still"),
        ("growing", lambda video: video.flip(0), "still"),
        ("left", lambda video: torch.cat((video[:17], video[:16].flip(0))), "still"),
        ("bouncing", lambda video: video[:8].repeat_interleave(4, dim=0), "down"),
    ],
)
def test_another_motion_is_another_motion(lots, film, motion, change, becomes):
    scene = draw_scene(lots, motion=motion)
    assert _found(change(film(scene, 128))) == (scene.colour, scene.shape, becomes)


def test_a_way_between_two_directions_is_neither(lots, film):
    scene = draw_scene(lots, motion="right", y=0.3)
    video = film(scene, 128)
    diagonal = torch.stack([frame.roll(frames, dims=0) for frames, frame in enumerate(video)])
    assert seen(diagonal).motion is None


def test_another_hue_is_another_colour(lots, film):
    for before, after in (("red", "green"), ("green", "blue"), ("blue", "red"), ("white", "black")):
        scene = draw_scene(lots, colour=before, background="grey")
        video = film(scene, 128)
        shifted = 1 - video if before == "white" else video.roll(1, dims=-1)
        assert _found(shifted) == (after, scene.shape, scene.motion)


def test_a_squeezed_circle_is_no_circle(lots, film):
    video = film(draw_scene(lots, shape="circle", motion="still", size="large", x=0.5), 128)
    assert seen(video[:, :, 32:96].repeat_interleave(2, dim=2)).shape is None


def test_nothing_is_seen_where_nothing_is(lots, rng, film):
    empty = film(draw_scene(lots, motion="still"), 128)[:, :2, :2].mean(dim=(1, 2), keepdim=True)
    empty = empty.expand(-1, 128, 128, -1)
    grey = torch.full((33, 128, 128, 3), 0.5)
    for video in (empty, noisy(empty, 0.03, rng), noisy(grey, 0.3, rng), stained(grey, 0.25, rng, cells=12)):
        result = seen(video)
        assert (result.colour, result.shape, result.motion, result.bounces) == (None, None, None, [])
        assert result.background.shape == (33, 128, 128)


def test_a_shape_that_vanishes_is_followed_while_it_is_there(lots, film):
    scene = draw_scene(lots, motion="right")
    video = film(scene, 128)
    bare = video[:1, :2, :2].mean(dim=(1, 2), keepdim=True)
    video[24:28] = bare
    result = seen(video)
    assert (result.areas[24:28] == 0).all()
    assert (result.centres[24:28] == result.centres[23]).all()
    assert _found(video) == _told(scene)
    video[8:] = bare
    assert seen(video).shape is None
