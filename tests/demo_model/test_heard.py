"""What is heard: pitch, loudness and clicks, and wrong sounds are heard as wrong."""

import pytest
import torch

from ltx_duo.demo_model.detectors import heard, seen
from ltx_duo.demo_model.world import bounce_times, draw_scene, sound
from ltx_duo.demo_model.world.scenes import FPS

RATE = 48000
PITCHES = {"circle": 200, "square": 300, "triangle": 500, "star": 800}  # Hz


def _noise(wave, rng, level=0.01):
    return wave + level * torch.randn(wave.shape, generator=rng)


@pytest.mark.parametrize(("rate", "level"), [(RATE, 0.0), (RATE, 0.005), (16000, 0.005), (24000, 0.0)])
def test_pitch_shape_and_clicks_of_every_kind(every_kind, rng, rate, level):
    for scene, wave in zip(every_kind, sound(every_kind, sample_rate=rate), strict=True):
        result = heard(_noise(wave, rng, level), rate)
        if scene.motion == "still":
            assert (result.pitch, result.shape) == (None, None)
        else:
            assert result.pitch == pytest.approx(PITCHES[scene.shape], abs=2)
            assert result.shape == scene.shape
        assert result.clicks == pytest.approx(bounce_times(scene), abs=0.006)


def test_loudness_follows_size(lots):
    small, large, growing, still = (
        heard(sound([draw_scene(lots, **fixed)])[0], RATE).loudness
        for fixed in (
            {"size": "small", "motion": "left"},
            {"size": "large", "motion": "left"},
            {"motion": "growing"},
            {"motion": "still"},
        )
    )
    assert len(small) == 134  # a value each 10 ms, the last window ends with the clip
    assert large[20:110].mean() / small[20:110].mean() == pytest.approx(17 / 11, rel=0.02)
    assert growing[120] / growing[10] == pytest.approx(1.6 / 1.05, rel=0.05)
    assert still.max() == 0


def test_sound_and_picture_agree_on_the_bounces(lots, film):
    for _ in range(4):
        scene = draw_scene(lots, motion="bouncing")
        clicks = heard(sound([scene])[0], RATE).clicks
        assert clicks == pytest.approx(seen(film(scene, 128)).bounces, abs=1 / FPS)


def test_a_wrong_sound_is_heard_as_wrong(lots, rng):
    scene = draw_scene(lots, shape="circle", motion="bouncing")
    wave = sound([scene])[0]
    assert heard(wave, RATE * 3 // 2).shape == "square"  # played too fast
    assert heard(wave, RATE * 5 // 4).shape is None  # between two shapes
    late = heard(wave.roll(RATE // 8, dims=1), RATE).clicks
    assert late == pytest.approx([time + 1 / 8 for time in bounce_times(scene)], abs=0.006)
    dull = torch.fft.rfft(wave)
    dull[:, int(1500 * wave.shape[1] / RATE) :] = 0
    assert heard(torch.fft.irfft(dull), RATE).clicks == []


def test_noise_and_silence_have_no_pitch_and_no_clicks(rng):
    for level in (0.0, 0.002, 0.2):
        result = heard(_noise(torch.zeros(2, 66000), rng, level), RATE)
        assert (result.pitch, result.shape, result.clicks) == (None, None, [])
