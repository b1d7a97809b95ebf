"""From an image file to the encoder's pixels, through H.264 and resizing, against the vendor's own functions."""

import numpy as np
import pytest
import torch
from PIL import Image

from ltx_duo.ltx_core.image_compression import compress
from ltx_duo.ltx_core.sampling.conditions.fitting import resize_and_crop

VENDOR = "ltx-pipelines 1.0.0"
SIZES = [(64, 96), (65, 97), (150, 83), (2, 2), (37, 300)]


def picture(rng, height: int, width: int) -> torch.Tensor:
    """(H, W, 3) uint8 with soft colours and some sharp edges, so that compression changes it."""
    coarse = torch.rand(1, 3, 5, 7, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].permute(1, 2, 0)
    dots = (torch.rand(height, width, 1, generator=rng) < 0.05).float()
    return ((smooth * (1 - dots) + dots).clamp(0, 1) * 255).to(torch.uint8)


@pytest.mark.parametrize("crf", [0, 18, 33])
@pytest.mark.parametrize("size", SIZES)
def test_compression(size, crf, rng, parity):
    """Equal 8-bit pixels; crf 0 leaves the image alone."""
    from ltx_pipelines.utils.media_io import preprocess

    image = picture(rng, *size)
    theirs = torch.from_numpy(np.array(preprocess(image.numpy(), crf)))
    ours = compress(image.float() / 255, crf)
    parity.check(f"H.264 round trip, crf {crf}", VENDOR, (ours * 255).round().to(torch.uint8), theirs, 0)
    assert (crf == 0) == torch.equal(theirs, image[: theirs.shape[0], : theirs.shape[1]]) or min(size) <= 2


@pytest.mark.parametrize("target", [(64, 96), (128, 64)])
@pytest.mark.parametrize("size", SIZES)
def test_file_to_pixels(size, target, rng, parity, tmp_path):
    """Equal float32 pixels in [-1, 1] at the stage's size, cropped from wider and taller images."""
    from ltx_pipelines.utils.media_io import load_image_conditioning

    path = tmp_path / "image.png"
    image = picture(rng, *size)
    Image.fromarray(image.numpy()).save(path)
    height, width = target
    theirs = load_image_conditioning(str(path), height, width, torch.float32, torch.device("cpu"))
    ours = resize_and_crop(compress(image.float() / 255, 33), width, height)
    parity.check("image file to pixels, crf 33", VENDOR, ours, theirs, 0)
