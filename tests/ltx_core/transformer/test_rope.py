"""Golden numbers of the rotary angles, computed in float64 outside this project."""

import math

import torch

from ltx_duo.ltx_core.transformer.rope import apply_rotary, rope_angles, rope_frequencies, rotary_table

VIDEO_LIMITS = (20.0, 2048.0, 2048.0)
# Token (1, 2, 3) at 24 fps: middles of its time (seconds), height and width (pixels).
TOKEN = torch.tensor([[[0.2083333], [80.0], [112.0]]])


def test_frequencies():
    video, audio = rope_frequencies(10000.0, 682), rope_frequencies(10000.0, 1024)
    golden = torch.tensor([1.5707963, 1.5921852, 156.0209867, 15707.9632679])
    torch.testing.assert_close(video[[0, 1, 340, 681]], golden, rtol=1e-6, atol=0)
    torch.testing.assert_close(audio[[1, 512]], torch.tensor([1.5850024, 157.7883415]), rtol=1e-6, atol=0)


def test_angles_are_frequency_major_and_padded_in_front():
    angles = rope_angles(TOKEN, VIDEO_LIMITS, 4096, 10000.0)[0, 0]
    golden = [0.0, 0.0, -1.5380714, -1.4480779, -1.3989905, -1.5590147, -1.4677958, -1.4180400]
    assert angles.shape == (2048,)
    torch.testing.assert_close(angles[:8], torch.tensor(golden), rtol=1e-6, atol=1e-6)


def test_consecutive_angles_go_to_consecutive_heads():
    angles = rope_angles(TOKEN, VIDEO_LIMITS, 4096, 10000.0)[0, 0]
    table = rotary_table(TOKEN, VIDEO_LIMITS, 4096, 32, 10000.0)
    assert table.cos.shape == (1, 32, 1, 64)
    torch.testing.assert_close(table.cos[0, 5, 0], angles[5 * 64 : 6 * 64].cos())
    torch.testing.assert_close(table.sin[0, 31, 0], angles[31 * 64 :].sin())


def test_rotation_turns_split_halves_and_keeps_length(rng):
    table = rotary_table(TOKEN, VIDEO_LIMITS, 4096, 32, 10000.0)
    x = torch.randn(1, 32, 1, 128, generator=rng)
    rotated = apply_rotary(x, table)
    angle = math.atan2(table.sin[0, 0, 0, 2], table.cos[0, 0, 0, 2])
    pair = torch.complex(x[0, 0, 0, 2], x[0, 0, 0, 66]) * torch.polar(torch.tensor(1.0), torch.tensor(angle))
    torch.testing.assert_close(torch.view_as_real(pair), rotated[0, 0, 0, [2, 66]])
    torch.testing.assert_close(rotated.norm(), x.norm())
    torch.testing.assert_close(rotated[0, 0, 0, [0, 1, 64, 65]], x[0, 0, 0, [0, 1, 64, 65]])
