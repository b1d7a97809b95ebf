"""Image conditions: any picture works, chains do not change what they were given, compression is H.264's."""

import numpy as np
import pytest
import torch
from PIL import Image

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.image_compression import compress
from ltx_duo.ltx_core.sampling.conditions.images import GivenImage, prepared
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.nodes.images import add_condition, single_rgb

SMALL = LatentGeometry(96, 64, 9, 24.0)


def photo(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack((x, y, (6 * x * y).sin().abs()), dim=-1)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(64, 96), (63, 95), (1, 7), (2, 3)])
@pytest.mark.parametrize("crf", [0, 18, 33, 51])
def test_every_picture_works(size, channels, crf):
    image = photo(*size)
    given = torch.cat((image, torch.zeros(*size, 1)), dim=-1)[None, ..., :channels]
    rgb = single_rgb(given)
    assert rgb.shape == (*size, 3)
    assert torch.equal(rgb, image if channels > 1 else image[..., :1].expand(-1, -1, 3))
    result = compress(rgb, crf)
    untouched = crf == 0 or min(size) < 2
    assert result.shape == ((*size, 3) if untouched else (size[0] // 2 * 2, size[1] // 2 * 2, 3))
    assert result.min() >= 0 and result.max() <= 1
    if untouched:
        assert torch.equal(result, rgb)


def test_compression_grows_with_crf():
    image = photo(128, 160) + 0.1 * torch.rand(128, 160, 3)
    image = image.clamp(0, 1)
    errors = [(compress(image, crf) - image).square().mean().item() for crf in (1, 18, 33, 51)]
    assert errors == sorted(errors) and errors[0] < 1e-3 and errors[-1] > 2 * errors[0]


@pytest.mark.parametrize("size", [(8, 16384), (16384, 8), (64, 90)])
def test_compression_is_at_the_images_own_size(size):
    image = photo(*size)
    assert torch.equal(prepared(GivenImage(image), 33, SMALL), compress(image, 33))


@pytest.mark.parametrize("size", [(20, 16386), (16400, 20), (6100, 6100)])
@pytest.mark.parametrize("crf", [0, 33])
def test_larger_than_h264_allows_is_fitted_first(size, crf):
    image = photo(max(size), 1).expand(*size, 3) if size[0] > size[1] else photo(1, max(size)).expand(*size, 3)
    result = prepared(GivenImage(image), crf, SMALL)
    if crf == 0:
        assert result is image
        return
    assert result.shape == (64, 96, 3)
    height, width = (length // 2 for length in size)
    assert torch.allclose(result[32, 48], image[height, width], atol=0.1)


def test_a_panorama_conditions_a_video(run, model, stage_one, same):
    panorama = torch.rand(1, 10, 20000, 3)
    conditions = run("ImageCondition", image=panorama, frame=0, strength=1.0, crf=-1)
    assert not same(stage_one(model, conditions=conditions), stage_one(model, conditions=None))


def test_a_picture_turned_by_exif_arrives_upright(tmp_path):
    import folder_paths

    folder_paths.set_input_directory(str(tmp_path))
    import nodes

    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = nodes.LoadImage().load_image("turned.png")[0]
    rgb = single_rgb(image)
    assert rgb.shape == (40, 20, 3)
    assert rgb[:10].mean() > 0.9 and rgb[-10:].mean() < 0.1


def test_chains_share_nothing():
    image = photo(8, 8)[None]
    first = add_condition(None, image, 0, 1.0, None)
    second = add_condition(first, image, -1, 0.5, 18)
    assert len(first.images) == 1 and len(second.images) == 2 and second.images[0] is first.images[0]
    last = second.images[1]
    assert (last.frame, last.strength, last.crf) == (-1, 0.5, 18)


@pytest.mark.parametrize(
    "image, words",
    [
        (torch.zeros(5, 8, 8, 3), "5 images"),
        (torch.zeros(1, 8, 8, 2), "shape"),
        (torch.zeros(8, 8, 3), "shape"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
    ],
)
def test_what_is_no_picture_is_refused(image, words):
    with pytest.raises(ConditioningError, match=words):
        add_condition(None, image, 0, 1.0, None)


def test_one_frame_takes_one_image():
    image = photo(8, 8)[None]
    with pytest.raises(ConditioningError, match="frame 3"):
        add_condition(add_condition(None, image, 3, 1.0, None), image, 3, 1.0, None)


def test_fit_acts_and_a_crop_of_much_is_told(run, model, stage_one, same, caplog):
    panorama = torch.rand(1, 20, 200, 3)
    given = {
        fit: run("ImageCondition", image=panorama, frame=0, strength=1.0, crf=0, fit=fit)
        for fit in ("crop", "pad", "stretch")
    }
    made, told = {}, {}
    for fit, conditions in given.items():
        caplog.clear()
        made[fit] = stage_one(model, conditions=conditions)
        told[fit] = "80% is cut off" in caplog.text
    assert told == {"crop": True, "pad": False, "stretch": False}
    assert not any(same(made[one], made[other]) for one, other in (("crop", "pad"), ("crop", "stretch")))
    assert not same(made["pad"], made["stretch"])
    as_before = run("ImageCondition", image=panorama, frame=0, strength=1.0, crf=0)
    assert same(stage_one(model, conditions=as_before), made["crop"])
