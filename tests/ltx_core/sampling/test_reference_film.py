"""A reference film as it is given: which of its frames are read, at which size, and what is refused.

Attention weights, masks and positions also meet the vendor's own code: tests/parity/sampling.
"""

import pytest
import torch
from torch.nn import functional as F

from ltx_duo.ltx_core.errors import ConditioningError, GeometryError
from ltx_duo.ltx_core.sampling.attention_weights import AttentionWeights
from ltx_duo.ltx_core.sampling.conditions import GivenReference, Keyframe, Reference, encode_reference
from ltx_duo.ltx_core.sampling.conditions.fitting import resize_and_crop
from ltx_duo.ltx_core.sampling.conditions.reference_film import reference_size
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.state import video_state

GEOMETRY = LatentGeometry(256, 128, 33, 24.0)


class Seen:
    """Stands for the encoder, and keeps what it was shown."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.pixels = pixels
        frames, height, width = pixels.shape[2:]
        return torch.rand(1, 128, (frames - 1) // 8 + 1, height // 32, width // 32)


def film(frames: int = 33, height: int = 60, width: int = 100) -> torch.Tensor:
    return torch.rand(frames, height, width, 3)


@pytest.mark.parametrize(
    ("own", "factor", "expected"),
    [
        (33, 1, list(range(33))),
        (90, 1, list(range(33))),  # longer: what is behind the film is not read
        (30, 1, list(range(25))),  # shorter: whole steps of 8 frames
        (7, 1, [0]),
        (1, 1, [0]),
        (33, 2, [0, *range(1, 33, 2)]),
        (33, 4, [0, *range(1, 33, 4)]),
        (33, 3, [0, *range(1, 23, 3)]),  # 11 frames more: 8 of them
        (90, 2, [0, *range(1, 33, 2)]),
    ],
)
def test_the_frames_of_the_same_numbers_are_read(own, factor, expected):
    given, seen = GivenReference(film(own)), Seen()
    assert given.shown(GEOMETRY.frames, factor) == expected
    made = encode_reference(seen, given, GEOMETRY, downscale_factor=2, temporal_factor=factor, dtype=torch.float32)
    assert seen.pixels.shape == (1, 3, len(expected), 64, 128)
    for number, frame in enumerate(expected):
        assert torch.equal(seen.pixels[:, :, number], resize_and_crop(given.frames[frame], 128, 64)[:, :, 0])
    assert (made.downscale_factor, made.temporal_factor) == (2, factor)


def test_strengths_travel():
    made = encode_reference(Seen(), GivenReference(film(), 0.6, 0.3), GEOMETRY, dtype=torch.float32)
    assert (made.strength, made.attention_strength, made.attention_mask) == (0.6, 0.3, None)
    assert (made.attention_weights == torch.tensor(0.3)).all() and len(made.attention_weights) == made.appended_tokens


@pytest.mark.parametrize("factor", [1, 2])
def test_a_mask_counts_by_the_frames_that_a_cell_shows(factor):
    """White in the film's frames 9 to 16: of a reference with all frames the second cell behind the first frame."""
    mask = torch.zeros(33, 60, 100)
    mask[9:17] = 1
    made = encode_reference(
        Seen(), GivenReference(film(), mask=mask), GEOMETRY, temporal_factor=factor, dtype=torch.float32
    )
    by_frame = made.attention_mask.mean(dim=(0, 2, 3))
    assert by_frame.tolist() == pytest.approx([0, 0, 1, 0, 0] if factor == 1 else [0, 0.5, 0], abs=1e-6)


def test_one_mask_for_all_frames_and_its_place():
    mask = torch.zeros(1, 60, 100)
    mask[:, :, 50:] = 1
    made = encode_reference(Seen(), GivenReference(film(), mask=mask), GEOMETRY, dtype=torch.float32)
    assert made.attention_mask.shape == (1, 5, 4, 8)
    assert (made.attention_mask[..., :3] < 0.01).all() and (made.attention_mask[..., 5:] > 0.99).all()


@pytest.mark.parametrize(("width", "height", "factor"), [(224, 128, 2), (256, 96, 2), (256, 128, 3), (64, 64, 4)])
def test_sizes_that_the_factor_does_not_divide(width, height, factor):
    with pytest.raises(GeometryError, match=f"1/{factor} of the size.*multiple of {32 * factor}"):
        reference_size(LatentGeometry(width, height, 9, 24.0), factor)


def test_sizes_that_it_divides():
    assert reference_size(GEOMETRY, 4) == (64, 32) and reference_size(GEOMETRY, 1) == (256, 128)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": torch.rand(9, 3, 8, 8)}, "expected .frames, height, width, 3. RGB"),
        ({"frames": torch.rand(0, 8, 8, 3)}, "expected .frames, height"),
        ({"frames": torch.zeros(9, 8, 8, 3, dtype=torch.uint8)}, "uint8.*floats in 0..1"),
        ({"strength": 1.1}, "reference strength is 1.1"),
        ({"attention_strength": -0.1}, "reference's attention strength is -0.1"),
        ({"mask": torch.rand(4, 8, 8)}, "attention mask has shape .4, 8, 8., expected .1 or 9"),
        ({"mask": torch.full((1, 8, 8), 1.2)}, "leaves 0 to 1"),
        ({"mask": torch.full((1, 8, 8), torch.nan)}, "leaves 0 to 1"),
    ],
)
def test_what_is_no_reference_is_refused(changes, words):
    with pytest.raises(ConditioningError, match=words):
        GivenReference(**{"frames": film(9), **changes})


@pytest.mark.parametrize(
    ("mask", "words"),
    [(torch.ones(1, 2, 2, 2), "attention mask has shape"), (torch.full((1, 5, 2, 4), 2.0), "leaves 0 to 1")],
)
def test_a_mask_that_does_not_fit_the_cells_is_refused(mask, words):
    with pytest.raises(ConditioningError, match=words):
        Reference(torch.rand(1, 128, 5, 2, 4), attention_mask=mask)


def attended(bias: torch.Tensor, q, k, v) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def test_weights_halve_the_look_at_a_token(rng):
    """By what they mean, not by the logarithm: a weight multiplies a token's share before shares are made to sum up."""
    weights = torch.tensor([0.5, 0.0, 1.0])
    bias = AttentionWeights.full(4, 4).grown(3, weights).bias(torch.float32)
    q, k, v = (torch.randn(1, 2, 7, 16, generator=rng) for _ in range(3))
    shares = (q @ k.mT / 4).exp()
    expected = shares * torch.cat((torch.ones(4), weights))
    expected[:, :, 4:] = torch.cat((shares[:, :, 4:, :4] * weights[:, None], shares[:, :, 4:, 4:]), dim=-1)
    expected = expected / expected.sum(dim=-1, keepdim=True)
    assert torch.allclose(attended(bias, q, k, v), expected @ v, atol=1e-6)


def test_references_do_not_see_each_other_nor_images_once_one_is_weaker():
    state = video_state(GEOMETRY, dtype=torch.float32)
    own, per_frame = GEOMETRY.video_tokens, GEOMETRY.frame_tokens
    small = Reference(torch.rand(1, 128, 1, 2, 4), 2), Reference(torch.rand(1, 128, 1, 2, 4), 2, attention_strength=0.5)
    for condition in (Keyframe(torch.rand(1, 128, 1, 4, 8), 8), *small):
        state = condition.apply(state, GEOMETRY)
    seen = state.attention.bias(torch.float32)[0, 0] > -1e9
    before, last = slice(own, own + per_frame + 8), slice(own + per_frame + 8, None)
    assert seen[before, before].all() and seen[last, last].all() and seen[:own].all() and seen[:, :own].all()
    assert not seen[before, last].any() and not seen[last, before].any()


def test_at_full_weight_there_is_no_bias():
    state = video_state(GEOMETRY, dtype=torch.float32)
    for _ in range(2):
        full = Reference(torch.rand(1, 128, 1, 2, 4), 2, attention_mask=torch.ones(1, 1, 2, 4))
        state = full.apply(state, GEOMETRY)
    assert state.attention is None
