"""What is encoded of a given film: which frames, where in the latent, and at which size."""

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, encode_film
from ltx_duo.ltx_core.sampling.conditions.fitting import resize_and_crop
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.video_vae import Tiling


class Encoder:
    """A stand-in that keeps the pixels it is given, and gives each cell their first value plus 2."""

    def __init__(self):
        self.seen = []

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(pixels)
        return (pixels[:, :1, ::8, ::32, ::32] + 2).expand(-1, 128, -1, -1, -1)


@pytest.mark.parametrize("before", [0, 8])
@pytest.mark.parametrize(("frames", "after"), [(17, 0), (12, 0), (12, 16), (17, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_frames_stand_where_they_belong(before, frames, after, dtype):
    """Fitted to the stage: the last one again where it has too few, the last ones left out where frames follow."""
    film = GivenFilm(torch.rand(frames, 50, 70, 3), 24.0, before=before, after=after)
    geometry, encoder = LatentGeometry(64, 32, film.total, 24.0), Encoder()
    kept = encode_film(encoder, film, geometry, dtype=dtype)
    (pixels,) = encoder.seen
    assert pixels.shape == (1, 3, film.used, 32, 64) and pixels.dtype == kept.latent.dtype == dtype
    for number in range(film.used):
        expected = resize_and_crop(film.frames[min(number, frames - 1)], 64, 32)[:, :, 0].to(dtype)
        assert torch.equal(pixels[:, :, number], expected)
    first, last = before // 8, before // 8 + (film.used - 1) // 8
    assert kept.latent.shape == (1, *geometry.video_shape)
    assert (kept.latent[:, :, first : last + 1] > 0.9).all()
    assert not kept.latent[:, :, :first].any() and not kept.latent[:, :, last + 1 :].any()
    assert torch.equal(kept.mask, film.video_mask(geometry))


def test_tiles_go_to_the_encoder():
    film, encoder = GivenFilm(torch.rand(17, 64, 256, 3), 24.0, windows=((0.5, 0.6),)), Encoder()
    kept = encode_film(encoder, film, LatentGeometry(256, 64, 17, 24.0), dtype=torch.float32, tiling=Tiling(128, 64))
    assert len(encoder.seen) > 1 and max(pixels.shape[4] for pixels in encoder.seen) == 128
    whole = encode_film(Encoder(), film, LatentGeometry(256, 64, 17, 24.0), dtype=torch.float32)
    assert torch.equal(kept.latent, whole.latent)


def test_another_films_geometry_is_refused():
    film = GivenFilm(torch.rand(17, 64, 128, 3), 24.0, before=8)
    with pytest.raises(ConditioningError, match="needs 25 frames"):
        encode_film(Encoder(), film, LatentGeometry(128, 64, 17, 24.0), dtype=torch.float32)
