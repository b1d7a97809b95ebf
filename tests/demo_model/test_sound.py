"""Sounds: loudness, side and clicks follow the scene."""

import pytest
import torch

from ltx_duo.demo_model.world import bounce_times, draw_scene, sound


def _level(wave, start, end, rate=48000):
    return float(wave[..., int(start * rate) : int(end * rate)].square().mean().sqrt())


def test_shape_range_and_length(every_kind):
    waves = sound(every_kind)
    assert waves.shape == (len(every_kind), 2, 66000)
    assert waves.abs().max() < 1
    torch.testing.assert_close(torch.cat([sound([scene]) for scene in every_kind[:9]]), waves[:9])
    assert sound(every_kind[:1], frames=17, fps=25.0, sample_rate=16000).shape == (1, 2, 10880)


def test_silent_exactly_when_nothing_moves(every_kind):
    for scene, wave in zip(every_kind, sound(every_kind), strict=True):
        assert bool(wave.any()) == (scene.motion != "still")


def test_louder_when_larger(lots):
    small, large = (sound([draw_scene(lots, size=size, motion="up")])[0] for size in ("small", "large"))
    assert _level(large, 0.2, 1.2) / _level(small, 0.2, 1.2) == pytest.approx(17 / 11, rel=0.01)
    growing = sound([draw_scene(lots, motion="growing")])[0]
    assert _level(growing, 1.2, 1.3) / _level(growing, 0.1, 0.2) == pytest.approx(1.625 / 1.075, rel=0.02)


def test_soft_at_both_ends(every_kind):
    waves = sound(every_kind)
    assert waves[..., :24].abs().max() < 0.03
    assert waves[..., -24:].abs().max() < 0.03


def test_heard_from_the_side_where_the_shape_is(lots):
    wave = sound([draw_scene(lots, motion="right", x=0.2)])[0]
    assert _level(wave[0], 0.1, 0.2) > 1.3 * _level(wave[1], 0.1, 0.2)
    assert _level(wave[1], 1.2, 1.3) > 1.1 * _level(wave[0], 1.2, 1.3)
    middle = sound([draw_scene(lots, motion="up", x=0.5)])[0]
    torch.testing.assert_close(middle[0], middle[1])


def test_clicks_add_to_the_tone_at_the_bounces(lots):
    scene = draw_scene(lots, motion="bouncing", x=0.5)
    sharp = sound([scene])[0, 0].diff().abs() > 0.1  # the tone alone changes by less from sample to sample
    times = (sharp.nonzero().flatten() / 48000).tolist()
    for bounce in bounce_times(scene):
        near = [time for time in times if -0.006 < time - bounce < 0.04]
        assert near[0] == pytest.approx(round(bounce, 2), abs=0.002)
        times = [time for time in times if time not in near]
    assert not times


def test_sound_keeps_with_the_frames_at_another_rate(lots):
    scene = draw_scene(lots, motion="bouncing")
    slow = sound([scene], fps=12.0)[0, 0].diff().abs() > 0.1
    assert float(slow.nonzero()[0]) / 48000 == pytest.approx(round(2 * bounce_times(scene)[0], 2), abs=0.002)
