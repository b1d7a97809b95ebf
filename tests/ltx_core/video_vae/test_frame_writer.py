import pytest
import torch

from ltx_duo.ltx_core.video_vae.frame_writer import FrameWriter

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode"])
def test_parts_of_any_size_land_in_their_places(device, inference, rng):
    with torch.inference_mode(inference):
        check_places(device, rng)


def test_frames_that_were_never_written_show():
    writer = FrameWriter(3, 2, 2, torch.device("cpu"))
    writer.write(torch.zeros(3, 2, 2, 2), 0)
    frames = writer.finish()
    assert torch.isfinite(frames[:2]).all() and torch.isnan(frames[2]).all()


def check_places(device, rng):
    pixels = (torch.rand((3, 41, 6, 5), generator=rng) * 3 - 1.5).to(device)
    writer = FrameWriter(41, 6, 5, pixels.device)
    start = 0
    for count in (1, 8, 17, 3, 12):
        writer.write(pixels[:, start : start + count], start)
        start += count
    expected = ((pixels.cpu() + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
    torch.testing.assert_close(writer.finish(), expected, rtol=0, atol=1e-7)
