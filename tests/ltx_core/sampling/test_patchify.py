import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.patchify import patchify_audio, patchify_video, unpatchify_audio, unpatchify_video


@given(batch=st.integers(1, 2), f=st.integers(1, 3), h=st.integers(1, 4), w=st.integers(1, 4), t=st.integers(1, 5))
@settings(max_examples=30)
def test_unpatchify_undoes_patchify(batch, f, h, w, t):
    geometry = LatentGeometry(32 * w, 32 * h, 8 * f - 7, 10.0)
    video = torch.randn(batch, 128, f, h, w)
    assert torch.equal(unpatchify_video(patchify_video(video), geometry), video)
    audio = torch.randn(batch, 8, t, 16)
    assert torch.equal(unpatchify_audio(patchify_audio(audio)), audio)


@given(
    st.integers(0, 2), st.integers(0, 1), st.integers(0, 4), st.integers(0, 127), st.integers(0, 7), st.integers(0, 15)
)
def test_where_each_value_goes(f, h, w, c, channel, mel):
    video = torch.arange(128 * 3 * 2 * 5.0).view(1, 128, 3, 2, 5)
    assert patchify_video(video)[0, (f * 2 + h) * 5 + w, c] == video[0, c, f, h, w]
    audio = torch.arange(8 * 3 * 16.0).view(1, 8, 3, 16)
    assert patchify_audio(audio)[0, f, channel * 16 + mel] == audio[0, channel, f, mel]


def test_appended_tokens_must_be_cleared_first():
    with pytest.raises(GeometryError, match="9 video tokens .* have 8"):
        unpatchify_video(torch.zeros(1, 9, 128), LatentGeometry(64, 64, 9, 24.0))
