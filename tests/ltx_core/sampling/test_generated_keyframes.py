"""Keyframes that a stage makes beside its video: where they stand, that they are marked, and that they go again."""

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.request import Request
from ltx_duo.ltx_core.sampling.conditions import (
    GeneratedKeyframes,
    GivenFilm,
    Keyframe,
    Reference,
    generated_keyframes,
)
from ltx_duo.ltx_core.sampling.denoiser import _single_frames
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.tests.ltx_core.sampling.starts import start_stage

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)  # 3 latent frames of 6 tokens
OWN = GEOMETRY.video_tokens


def image(rng) -> torch.Tensor:
    return torch.randn(1, 128, 1, 2, 3, generator=rng)


def test_they_are_noise_at_their_frames_and_marked(rng):
    own = generated_keyframes([-1, 5], GEOMETRY)
    conditions = [Keyframe(image(rng), 8), *own, Reference(torch.randn(1, 128, 3, 2, 3, generator=rng))]
    state = start_stage(GEOMETRY, rng, dtype=torch.float32, images=conditions)
    video, first = state.video, OWN + 6
    assert own[0].appended_tokens == 12 and video.latent.shape[1] == first + 12 + 18
    assert (video.denoise_mask[0, first : first + 12] == 1).all()
    assert video.latent[0, first : first + 12].std() == pytest.approx(1, abs=0.1)
    for frame, begin in ((5, first), (16, first + 6)):
        positions = video.positions[:, :, begin : begin + 6]
        assert torch.equal(positions, GEOMETRY.keyframe_positions(frame))
    marked = _single_frames(state).nonzero().flatten().tolist()
    assert marked == [*range(6), *range(first, first + 12)]
    assert state.latents()[0].shape == (1, *GEOMETRY.video_shape)


def test_none_changes_nothing():
    assert generated_keyframes([], GEOMETRY) == ()


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([17], "at frame 17, but the video has 17: use 0 to 16"),
        ([-18], "at frame -18"),
        ([3, 3], "twice at one frame"),
        ([16, -1], "twice at one frame"),
    ],
)
def test_frames_that_are_none_are_refused_by_the_request(frames, words):
    with pytest.raises(ConditioningError, match=words):
        Request("a lake", LatentGeometry(128, 64, 17, 24.0), generated_keyframes=frames)


def test_beside_a_film_whose_picture_is_kept_they_are_refused():
    film = GivenFilm(torch.rand(17, 64, 128, 3), 24.0, new_picture=False)
    with pytest.raises(ConditioningError, match="change nothing"):
        Request("a lake", LatentGeometry(128, 64, 17, 24.0), film=film, generated_keyframes=[8])


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([GeneratedKeyframes((3,), 6), GeneratedKeyframes((8,), 6)], "generated keyframes already"),
        ([GeneratedKeyframes((3,), 4)], "of 4 tokens up to frame 3, but the stage has 6"),
        ([GeneratedKeyframes((17,), 6)], "up to frame 17"),
    ],
)
def test_conditions_that_do_not_fit_the_stage_are_refused(conditions, words, rng):
    with pytest.raises(ConditioningError, match=words):
        start_stage(GEOMETRY, rng, dtype=torch.float32, images=conditions)


@pytest.mark.parametrize("frames", [(), (8, 3), (3, 3), (-1,)])
def test_a_condition_names_frames_in_order(frames):
    with pytest.raises(ConditioningError, match="expected pixel frames from 0, each once and rising"):
        GeneratedKeyframes(frames, 6)
