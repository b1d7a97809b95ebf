"""The measurements themselves, on drawn clips: right on good ones, and falling on spoilt ones."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.demo_model.detectors import heard, seen
from ltx_duo.demo_model.world import bounce_times, draw_scene, sound
from ltx_duo.tests.demo_model.degrade import blurred, noisy
from ltx_duo.tests.demo_model.meaning.measures import (
    colours_of,
    edge_sharpness,
    in_step,
    least_level,
    loudness_follows_size,
    psnr,
    strayed,
)

RATE = 48000


def test_psnr_of_known_noise(rng):
    clip = torch.rand(2, 64, 64, 3, generator=rng)
    assert psnr(clip, clip + 0.1) == pytest.approx(20, abs=0.01)
    half = torch.zeros(2, 64, 64, dtype=torch.bool)
    half[:, :32] = True
    spoilt = clip.clone()
    spoilt[:, 32:] = 0
    assert psnr(clip, spoilt + 0.01, half) == pytest.approx(40, abs=0.01)
    assert psnr(clip, clip, half & ~half) == float("-inf")
    assert psnr(clip, clip / 0) == float("-inf")


def test_sharpness_falls_with_blur_and_hardly_with_noise(lots, rng, film):
    clip = film(draw_scene(lots, motion="right"), 128)
    sharp = edge_sharpness(clip)
    assert sharp > 0.6
    values = [edge_sharpness(blurred(clip, sigma)) for sigma in (0.7, 1.5, 3.0)]
    assert sharp > values[0] > 1.4 * values[1] > 2 * values[2]
    assert edge_sharpness(noisy(clip, 0.02, rng)) == pytest.approx(sharp, rel=0.15)
    assert edge_sharpness(torch.full_like(clip, 0.5)) == 0


def test_clicks_in_step():
    assert in_step([0.5, 1.0], [0.52, 0.95], 2) == 1
    assert in_step([0.5, 1.0], [0.52, 1.2], 2) == 0.5
    assert in_step([0.5, 1.0], [0.52], 2) == 0.5
    assert in_step([0.5], [0.5], 2) == 0.5
    assert in_step([0.5, 1.0], [0.5, 0.75, 1.0, 1.25], 2) == 0.5
    assert in_step([], [], 2) == 0
    assert in_step([0.50, 0.55], [0.52], 2) == 0.5  # one click belongs to one bounce


def test_clicks_of_a_drawn_clip_are_in_step(lots, film):
    scene = draw_scene(lots, motion="bouncing")
    wave = sound([scene])[0]
    bounces = seen(film(scene, 128)).bounces
    assert in_step(bounces, heard(wave, RATE).clicks, len(bounce_times(scene))) == 1
    assert in_step(bounces, heard(wave.roll(RATE // 5, dims=1), RATE).clicks, 2) == 0


def test_loudness_follows_the_size_of_its_own_clip(lots, film):
    scene = draw_scene(lots, motion="growing")
    wave = sound([scene])[0]
    clip = seen(film(scene, 128))
    assert loudness_follows_size(clip, heard(wave, RATE)) > 0.95
    assert loudness_follows_size(clip, heard(wave.flip(1), RATE)) < -0.95
    assert loudness_follows_size(clip, heard(torch.zeros_like(wave), RATE)) == 0


def test_colours_of_the_parts_of_a_clip(lots, film):
    scene = draw_scene(lots, colour="red", motion="left")
    clip = film(scene, 128)
    clip[10:20] = film(replace(scene, colour="blue"), 128)[10:20]
    assert colours_of(clip, (slice(0, 10), slice(10, 20), slice(20, None))) == ["red", "blue", "red"]


def test_how_far_a_shape_strays(lots, film):
    scene = draw_scene(lots, motion="right")
    clip = film(scene, 128)
    moved = film(replace(scene, x=scene.x + 5 / 256), 128)
    assert strayed(clip, clip, slice(5, 15)) == 0
    assert 256 * strayed(moved, clip, slice(5, 15)) == pytest.approx(5, abs=1)
    late = torch.cat((clip[:10], clip[9:-1]))  # stands still for a frame
    assert 256 * strayed(late, clip, slice(0, 10)) == pytest.approx(0, abs=0.5)
    assert 256 * strayed(late, clip, slice(8, 20)) == pytest.approx(0.3 / 24 * 256, abs=1)


def test_a_gap_in_the_sound(lots):
    wave = sound([draw_scene(lots, motion="left")])[0]
    assert least_level(heard(wave, RATE), 0.5) == pytest.approx(1, abs=0.1)
    gap = wave.clone()
    gap[:, round(0.45 * RATE) : round(0.52 * RATE)] = 0
    assert least_level(heard(gap, RATE), 0.5) < 0.1
    assert least_level(heard(gap, RATE), 0.9) > 0.9
