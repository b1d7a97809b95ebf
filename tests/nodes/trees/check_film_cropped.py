"""A film whose sides are no whole steps is cropped, not scaled: what comes out of it is its own pixels."""

from fractions import Fraction

import pytest
import torch
from comfy_api.latest import InputImpl, Types

from ltx_duo.ltx_core.splicing import splice_frames

HEIGHT, WIDTH, FRAMES = 90, 150, 9
TOP, LEFT = 13, 11  # of 64x128 in the middle
WINDOW = {"start": 0.1, "end": 0.2}


@pytest.fixture
def source(rng) -> torch.Tensor:
    return torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=rng)


@pytest.fixture
def video(source):
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=source, audio=None, frame_rate=Fraction(25)))


@pytest.fixture
def rng(request) -> torch.Generator:
    seed = torch.seed() % 2**31
    request.node.user_properties.append(("seed", seed))
    return torch.Generator().manual_seed(seed)


def test_the_middle_is_given_and_comes_out_bit_for_bit(run, video, source):
    given, width, height, *_ = run("Retake", video=video, **WINDOW, remake="picture")
    middle = source[:, TOP : TOP + 64, LEFT : LEFT + 128]
    assert (width, height) == (128, 64) and torch.equal(given.film.frames, middle)
    out = splice_frames(given.film, torch.zeros(FRAMES, 64, 128, 3))
    assert torch.equal(out[:2], middle[:2]) and torch.equal(out[5:], middle[5:])
    assert not out[3].eq(middle[3]).any()


def test_the_mask_is_cropped_with_it(run, video):
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, TOP + 5, LEFT + 7] = 1
    given, *_ = run("Region", video=video, mask=mask, start=0.0, end=0.0, sound="keep")
    assert given.film.mask.nonzero().tolist() == [[0, 5, 7]]


def test_a_picture_that_is_kept_is_not_cropped(run, video, source):
    assert torch.equal(run("FilmSound", video=video)[0].film.frames, source)
