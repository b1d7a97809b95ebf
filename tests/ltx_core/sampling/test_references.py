"""Reference films, and images on their way to the encoder, by the rules that they are documented with.

References of equal and half size also meet the vendor's own code: tests/parity/sampling.
"""

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.image_compression import LONGEST_SIDE, compress
from ltx_duo.ltx_core.sampling.conditions import Reference
from ltx_duo.ltx_core.sampling.conditions.fitting import resize_and_crop
from ltx_duo.ltx_core.sampling.conditions.images import GivenImage, prepared
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.patchify import patchify_video
from ltx_duo.ltx_core.sampling.state import video_state

GEOMETRY = LatentGeometry(128, 64, 33, 24.0)  # five latent frames of 2 x 4
PER_FRAME = 8


def film(frames: int = 5, height: int = 2, width: int = 4) -> torch.Tensor:
    return torch.rand(1, 128, frames, height, width)


def state(**options):
    return video_state(GEOMETRY, dtype=torch.float32, **options)


def behind(reference: Reference):
    """The reference's own tokens: (clean, mask, positions)."""
    made, own = reference.apply(state(), GEOMETRY), GEOMETRY.video_tokens
    assert made.latent.shape[1] == own + reference.appended_tokens
    assert not made.latent[:, own:].any() and (made.denoise_mask[:, :own] == 1).all()
    return made.clean[:, own:], made.denoise_mask[:, own:], made.positions[:, :, own:]


def test_a_reference_of_equal_size_stands_where_the_film_stands():
    latent = film()
    clean, mask, positions = behind(Reference(latent))
    assert torch.equal(clean, patchify_video(latent)) and not mask.any()
    assert torch.equal(positions, GEOMETRY.video_positions())


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_a_reference_is_kept_as_firmly_as_it_says(strength):
    assert (behind(Reference(film(), strength=strength))[1] == 1 - strength).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_small_reference_covers_the_whole_picture(factor):
    """As pixels of the film: 64 rows and 128 columns, whatever its own size."""
    geometry = LatentGeometry(512, 256, 33, 24.0)
    latent = film(5, 8 // factor, 16 // factor)
    made = Reference(latent, downscale_factor=factor).apply(video_state(geometry), geometry)
    rows, columns = made.positions[0, 1:, geometry.video_tokens :].unbind()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 256, 0, 512)
    assert ((rows[:, 1] - rows[:, 0]) == 32 * factor).all()
    own = geometry.video_positions()[:, 0].unique(dim=1)
    assert torch.equal(made.positions[:, 0, geometry.video_tokens :].unique(dim=1), own)


def test_a_reference_of_every_other_frame_stands_at_the_films_times():
    """Its three latent frames show frames 0, 2, 4 ... 32 of the film: the first 0 alone, then 2 to 16, then 18 to 32.

    In the film these are [0, 1), [1, 17) and [17, 33).
    """
    _, _, positions = behind(Reference(film(3), temporal_factor=2))
    times = positions[0, 0, ::PER_FRAME] * GEOMETRY.fps
    assert torch.allclose(times, torch.tensor([[0.0, 1.0], [1.0, 17.0], [17.0, 33.0]]), atol=1e-5)


def test_a_reference_of_every_fourth_frame_ends_with_the_film():
    _, _, positions = behind(Reference(film(2), temporal_factor=4))
    times = positions[0, 0, ::PER_FRAME] * GEOMETRY.fps
    assert torch.allclose(times, torch.tensor([[0.0, 1.0], [1.0, 33.0]]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent": torch.zeros(1, 64, 2, 2, 4)}, r"shape \(1, 64, 2, 2, 4\), expected \(1, 128"),
        ({"latent": torch.zeros(2, 128, 2, 2, 4)}, "expected .1, 128"),
        ({"latent": torch.zeros(128, 2, 2, 4)}, "expected .1, 128"),
        ({"downscale_factor": 0}, "downscale_factor is 0"),
        ({"temporal_factor": -1}, "temporal_factor is -1"),
        ({"strength": 1.5}, "reference strength is 1.5"),
    ],
)
def test_what_is_no_reference_is_refused(changes, words):
    with pytest.raises(ConditioningError, match=words):
        Reference(**{"latent": film(), **changes})


def wide(height: int = 32) -> torch.Tensor:
    """An image that is wider than H.264 takes: a ramp from dark to light."""
    return torch.linspace(0, 1, LONGEST_SIDE + 2)[None, :, None].expand(height, -1, 3)


def test_an_image_is_compressed_at_its_own_size():
    image = torch.rand(50, 70, 3)
    assert torch.equal(prepared(GivenImage(image), 33, GEOMETRY), compress(image, 33))


def test_an_image_that_h264_does_not_take_is_fitted_first():
    image = wide()
    result = prepared(GivenImage(image), 33, GEOMETRY)
    assert result.shape == (GEOMETRY.height, GEOMETRY.width, 3)
    fitted = (resize_and_crop(image, GEOMETRY.width, GEOMETRY.height)[0, :, 0].permute(1, 2, 0) + 1) / 2
    assert torch.equal(result, compress(fitted, 33))
    assert (result - fitted).abs().max() < 0.05  # as bright as it was


def test_without_compression_no_image_is_touched():
    for image in (torch.rand(50, 71, 3), wide()):
        assert prepared(GivenImage(image), 0, GEOMETRY) is image
