"""Golden numbers of the rotary angles, computed in float64 outside this project."""

import math

import torch

from ltx_duo.ltx_core.kernels.rotary import apply_rotary
from ltx_duo.ltx_core.transformer.rope import rope_frequencies, rotary_table

VIDEO_LIMITS = (20.0, 2048.0, 2048.0)
# Token (1, 2, 3) at 24 fps: middles of its time (seconds), height and width (pixels).
TOKEN = torch.tensor([[0.2083333], [80.0], [112.0]])


def test_frequencies():
    video, audio = rope_frequencies(10000.0, 682), rope_frequencies(10000.0, 1024)
    golden = torch.tensor([1.5707963, 1.5921852, 156.0209867, 15707.9632679])
    torch.testing.assert_close(video[[0, 1, 340, 681]], golden, rtol=1e-6, atol=0)
    torch.testing.assert_close(audio[[1, 512]], torch.tensor([1.5850024, 157.7883415]), rtol=1e-6, atol=0)


def test_angles_are_frequency_major_and_padded_in_front():
    rotation = rotary_table(TOKEN, VIDEO_LIMITS, 4096, 32, 10000.0).rotation
    golden = torch.tensor([0.0, 0.0, -1.5380714, -1.4480779, -1.3989905, -1.5590147, -1.4677958, -1.4180400])
    assert rotation.cos.shape == rotation.sin.shape == (1, 32, 1, 64)
    torch.testing.assert_close(rotation.cos[0, 0, 0, :8], golden.cos(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rotation.sin[0, 0, 0, :8], golden.sin(), rtol=1e-6, atol=1e-6)


def test_consecutive_angles_go_to_consecutive_heads():
    rotation = rotary_table(TOKEN, VIDEO_LIMITS, 4096, 32, 10000.0).rotation
    frequencies = rope_frequencies(10000.0, 682)
    # The first pair of head 5 is number 320: padding 2, so frequency 106 of axis 0.
    angle = (2 * TOKEN[0, 0] / VIDEO_LIMITS[0] - 1) * frequencies[106]
    torch.testing.assert_close(rotation.cos[0, 5, 0, 0], angle.cos())
    # The last pair of all: frequency 681 of axis 2.
    angle = (2 * (TOKEN[2, 0] / VIDEO_LIMITS[2]) - 1) * frequencies[681]
    torch.testing.assert_close(rotation.sin[0, 31, 0, 63], angle.sin())


def test_tokens_share_the_angles_of_equal_coordinates(rng):
    """Every token of a table is rotated as it would be in a table of its own."""
    coordinates = torch.rand(3, 4, generator=rng) * torch.tensor(VIDEO_LIMITS)[:, None]
    picks = torch.randint(4, (3, 29), generator=rng)
    positions = coordinates.gather(1, picks)
    table = rotary_table(positions, VIDEO_LIMITS, 40, 2, 10000.0)
    assert len(table.cos) <= 12
    for token in range(29):
        alone = rotary_table(positions[:, token : token + 1], VIDEO_LIMITS, 40, 2, 10000.0)
        assert torch.equal(table.rotation.cos[:, :, token], alone.rotation.cos[:, :, 0])
        assert torch.equal(table.rotation.sin[:, :, token], alone.rotation.sin[:, :, 0])


def test_rotation_turns_split_halves_and_keeps_length(rng):
    table = rotary_table(TOKEN, VIDEO_LIMITS, 4096, 32, 10000.0)
    x = torch.randn(1, 32, 1, 128, generator=rng)
    rotation = table.rotation
    rotated = apply_rotary(x, rotation)
    angle = math.atan2(rotation.sin[0, 0, 0, 2], rotation.cos[0, 0, 0, 2])
    pair = torch.complex(x[0, 0, 0, 2], x[0, 0, 0, 66]) * torch.polar(torch.tensor(1.0), torch.tensor(angle))
    torch.testing.assert_close(torch.view_as_real(pair), rotated[0, 0, 0, [2, 66]])
    torch.testing.assert_close(rotated.norm(), x.norm())
    torch.testing.assert_close(rotated[0, 0, 0, [0, 1, 64, 65]], x[0, 0, 0, [0, 1, 64, 65]])
