"""How an image of another shape gets the video's: cropped, padded with black, stretched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ltx_duo.ltx_core.sampling.conditions import Fit, GivenImage, encode_images, fitting
from ltx_duo.ltx_core.sampling.conditions.fitting import cut_share, fitted, resize_and_crop
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry

SIDES = st.integers(1, 70)
SIZES = {"height": SIDES, "width": SIDES, "target_height": st.integers(8, 64), "target_width": st.integers(8, 64)}


def scaled(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(3, height, width) in -1..1."""
    return F.interpolate(image.movedim(-1, 0)[None] * 2 - 1, size, mode="bilinear", align_corners=False)[0]


@given(**SIZES)
def test_cropping_is_the_vendors(height, width, target_height, target_width):
    image = torch.rand(height, width, 3)
    own = fitted(image, target_width, target_height)
    assert torch.equal(own, resize_and_crop(image, target_width, target_height))


@given(**SIZES)
def test_stretching_scales_each_side_by_itself(height, width, target_height, target_width):
    image = torch.rand(height, width, 3)
    own = fitted(image, target_width, target_height, Fit.STRETCH)
    assert own.shape == (1, 3, 1, target_height, target_width)
    assert torch.allclose(own[0, :, 0], scaled(image, (target_height, target_width)), atol=1e-5)


@given(**SIZES)
def test_padding_shows_all_of_it_in_the_middle_of_black(height, width, target_height, target_width):
    """Light images: what is black is not the image."""
    image = torch.rand(height, width, 3) * 0.5 + 0.5
    own = fitted(image, target_width, target_height, Fit.PAD)[0, :, 0]
    seen = (own > -1).any(dim=0)
    rows, columns = seen.any(dim=1).nonzero().flatten(), seen.any(dim=0).nonzero().flatten()
    inside = own[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert torch.allclose(inside, scaled(image, tuple(inside.shape[1:])), atol=1e-5)
    assert seen.sum() == inside[0].numel()
    for places, target in ((rows, target_height), (columns, target_width)):
        assert abs(int(places[0]) - (target - 1 - int(places[-1]))) <= 1
    # It touches two sides, and keeps its shape up to a pixel.
    assert len(rows) == target_height or len(columns) == target_width
    scale = min(target_height / height, target_width / width)
    assert abs(len(rows) - height * scale) <= 1 and abs(len(columns) - width * scale) <= 1


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("size", [(50, 170), (170, 50), (3, 400)])
def test_large_images_are_fitted_like_any_other(fit, size, monkeypatch):
    image = torch.rand(*size, 3)
    small = fitted(image, 96, 64, fit)
    monkeypatch.setattr(fitting, "_MOST_PIXELS", 1)
    assert torch.allclose(fitted(image, 96, 64, fit), small, atol=1e-4)


@given(**SIZES)
def test_what_is_cut_off_is_the_share_outside(height, width, target_height, target_width):
    scale = max(target_height / height, target_width / width)
    kept = (target_height / (height * scale)) * (target_width / (width * scale))
    assert cut_share((height, width), target_width, target_height) == pytest.approx(1 - kept, abs=1e-9)


def test_an_image_is_encoded_as_it_is_fitted():
    geometry, image, seen = LatentGeometry(96, 64, 9, 24.0), torch.rand(40, 90, 3), []

    def encoder(pixels):
        seen.append(pixels)
        return torch.zeros(1, 128, 1, 2, 3)

    for fit in Fit:
        encode_images(encoder, [GivenImage(image, crf=0, fit=fit)], geometry, 33, dtype=torch.float32)
        assert torch.equal(seen.pop(), fitted(image, 96, 64, fit))
