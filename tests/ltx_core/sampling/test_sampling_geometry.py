import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry, check_two_stage, geometry_of_latent

geometries = st.builds(
    LatentGeometry,
    width=st.integers(1, 12).map(lambda n: 32 * n),
    height=st.integers(1, 12).map(lambda n: 32 * n),
    frames=st.integers(1, 12).map(lambda n: 8 * n + 1),
    fps=st.sampled_from([12.0, 23.976, 24.0, 25.0, 30.0, 60.0]),
)


def test_the_standard_sizes():
    final = check_two_stage(1536, 1024, 121, 24.0)
    assert final.video_shape == (128, 16, 32, 48) and final.video_tokens == 24576
    assert final.half() == LatentGeometry(768, 512, 121, 24.0)
    assert final.half().video_shape == (128, 16, 16, 24) and final.half().video_tokens == 6144
    assert final.audio_shape == final.half().audio_shape == (8, 126, 16)


@pytest.mark.parametrize(
    "frames, fps, expected",
    [(121, 24, 126), (121, 25, 121), (241, 24, 251), (257, 24, 268), (97, 24, 101), (193, 24, 201)],
)
def test_audio_length_follows_the_requested_duration(frames, fps, expected):
    assert LatentGeometry(64, 64, frames, float(fps)).audio_frames == expected


def test_half_an_audio_latent_goes_to_the_even_side():
    assert LatentGeometry(64, 64, 1, 10.0).audio_frames == 2  # 2.5
    assert LatentGeometry(64, 64, 9, 50.0).audio_frames == 4  # 4.5


def test_golden_positions():
    geometry = LatentGeometry(768, 512, 121, 24.0)
    token = (1 * 16 + 2) * 24 + 3
    bounds = geometry.video_positions()[0, :, token]
    assert bounds.mean(-1).tolist() == pytest.approx([5 / 24, 80, 112], abs=1e-6)
    assert geometry.video_positions()[0, 0, 0].tolist() == pytest.approx([0, 1 / 24])
    seconds = geometry.audio_positions()[0, 0, :3]
    assert torch.allclose(seconds, torch.tensor([[0, 0.01], [0.01, 0.05], [0.05, 0.09]]))
    keyframe = geometry.keyframe_positions(40)
    assert torch.allclose(keyframe[0, 0, :], torch.tensor([40 / 24, 41 / 24]))
    assert torch.equal(keyframe[:, 1:], geometry.video_positions()[:, 1:, : 16 * 24])


@given(geometries)
def test_video_positions_tile_the_pixels_and_the_time(geometry):
    positions = geometry.video_positions()
    assert positions.shape == (1, 3, geometry.video_tokens, 2) and positions.dtype == torch.float32
    spans = (positions[..., 1] - positions[..., 0]).double()[0]
    assert (spans > 0).all()
    volume = (spans[0] * spans[1] * spans[2]).sum().item()
    assert volume == pytest.approx(geometry.frames / geometry.fps * geometry.width * geometry.height, rel=1e-5)
    assert positions[0, 0].max().item() == pytest.approx(geometry.frames / geometry.fps, rel=1e-6)
    assert positions[0, 1].max() == geometry.height and positions[0, 2].max() == geometry.width


@given(geometries)
def test_audio_positions_follow_each_other_without_gaps(geometry):
    bounds = geometry.audio_positions()[0, 0]
    assert bounds.shape == (geometry.audio_frames, 2) and bounds[0, 0] == 0
    assert torch.equal(bounds[1:, 0], bounds[:-1, 1]) and (bounds[:, 1] > bounds[:, 0]).all()
    assert bounds[-1, 1].item() == pytest.approx(geometry.audio_frames / 25 - 0.03, abs=1e-5)


@given(geometries)
def test_a_latent_knows_its_geometry(geometry):
    latent = torch.empty(2, *geometry.video_shape, device="meta")
    assert geometry_of_latent(latent, geometry.fps) == geometry


@given(width=st.integers(1, 4096), height=st.integers(1, 4096), frames=st.integers(-9, 500))
def test_a_size_is_taken_as_it_is_or_refused(width, height, frames):
    valid = width % 64 == 0 and height % 64 == 0 and frames >= 1 and frames % 8 == 1
    if valid:
        assert check_two_stage(width, height, frames, 24.0) == LatentGeometry(width, height, frames, 24.0)
        return
    with pytest.raises(GeometryError) as caught:
        check_two_stage(width, height, frames, 24.0)
    message = str(caught.value)
    assert (f"width is {width}," in message) == (width % 64 != 0)
    assert (f"height is {height}," in message) == (height % 64 != 0)
    assert (f"frames is {frames}," in message) == (frames < 1 or frames % 8 != 1)


@pytest.mark.parametrize(
    "size, advice",
    [
        ((1000, 1024, 121, 24.0), "width is 1000, expected a multiple of 64 pixels: use 960 or 1024"),
        ((1536, 1056, 121, 24.0), "height is 1056, expected a multiple of 64 pixels: use 1024 or 1088"),
        ((1536, 32, 121, 24.0), "use 64"),
        ((1536, 0, 121, 24.0), "use 64"),
        ((1536, 1024, 120, 24.0), "frames is 120, expected 8n+1: use 113 or 121"),
        ((1536, 1024, 0, 24.0), "frames is 0, expected 8n+1: use 1"),
        ((1536, 1024, 121, 0.0), "fps is 0.0"),
        ((1536, 1024, 121, float("nan")), "fps is nan"),
        ((1536, 1024, 121, float("inf")), "fps is inf"),
        ((1536, 1024, 121, -24.0), "fps is -24.0, expected 1 to 1000 frames a second"),
        ((1536, 1024, 121, 5e-324), "fps is 5e-324, expected 1 to 1000 frames a second"),
        ((1536, 1024, 121, 1e300), "fps is 1e+300, expected 1 to 1000 frames a second"),
        ((1536, 1024, 1, 60.0), "too short for any sound"),
        ((1536.5, 1024, 121, 24.0), "width is 1536.5"),
    ],
)
def test_bad_sizes_say_what_to_use(size, advice):
    with pytest.raises(GeometryError) as caught:
        check_two_stage(*size)
    assert advice in str(caught.value)


def test_one_stage_takes_multiples_of_32_but_has_no_half():
    geometry = LatentGeometry(96, 64, 9, 24.0)
    with pytest.raises(GeometryError, match="width is 96, expected a multiple of 64 pixels: use 64 or 128"):
        geometry.half()


def test_a_latent_of_another_model_is_refused():
    with pytest.raises(GeometryError, match=r"\(1, 16, 4, 4\)"):
        geometry_of_latent(torch.zeros(1, 16, 4, 4), 24.0)
