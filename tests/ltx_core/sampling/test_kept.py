"""What is kept of a stream: how its state begins, that it stays bit for bit, and what is no such thing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, Kept, Keyframe, Reference
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts
from ltx_duo.ltx_core.sampling.patchify import patchify_audio, patchify_video
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.schedule import STAGE_TWO, ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import AVLatent, Stage, Start, begin, sample_stage
from ltx_duo.ltx_core.sampling.state import audio_state, video_state
from ltx_duo.ltx_core.two_stage import stage_one, stage_two

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
SHAPES = {"video": GEOMETRY.video_shape, "audio": GEOMETRY.audio_shape}
CELLS = {"video": (1, *GEOMETRY.video_shape[1:]), "audio": (1, GEOMETRY.audio_frames)}
PATCHIFY = {"video": patchify_video, "audio": patchify_audio}
STATES = {"video": video_state, "audio": audio_state}
CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
FLOAT = {"dtype": torch.float32}
APPENDING = Keyframe(torch.rand(1, 128, 1, 2, 3), 8), Reference(torch.rand(1, 128, 3, 2, 3))
STREAMS = pytest.mark.parametrize("stream", ["video", "audio"])


def latent(stream: str) -> torch.Tensor:
    return torch.randn(1, *SHAPES[stream])


def mask(stream: str) -> torch.Tensor:
    """Random zeros and ones, some of both."""
    values = (torch.rand(CELLS[stream]) < 0.5).float()
    values.view(-1)[:2] = torch.tensor([0.0, 1.0])
    return values


def over_channels(values: torch.Tensor, stream: str) -> torch.Tensor:
    """A mask of cells for every value of the latent."""
    wide = values[:, None] if stream == "video" else values[:, None, :, None]
    return wide.expand(1, *SHAPES[stream])


@STREAMS
def test_where_the_mask_is_below_1_the_clean_tokens_are_the_given_ones(stream):
    """Each cell's own, in the latent's order; what is made anew goes on from what the state had."""
    given_latent, initial, values = latent(stream), latent(stream), mask(stream)
    values[values == 0] = torch.where(torch.rand(int((values == 0).sum())) < 0.5, 0.0, 0.4)
    before = STATES[stream](GEOMETRY, initial=initial, **FLOAT)
    after = Kept(given_latent, values).apply(before, GEOMETRY)
    expected = torch.where(over_channels(values, stream) < 1, given_latent, initial)
    assert torch.equal(after.clean, PATCHIFY[stream](expected))
    assert torch.equal(after.denoise_mask[..., 0], PATCHIFY[stream](over_channels(values, stream))[..., 0])
    assert after.latent is before.latent and after.positions is before.positions and not after.frozen
    assert Kept(given_latent).appended_tokens == 0


@STREAMS
def test_without_a_mask_all_is_kept(stream):
    whole = latent(stream)
    after = Kept(whole).apply(STATES[stream](GEOMETRY, **FLOAT), GEOMETRY)
    assert torch.equal(after.clean, PATCHIFY[stream](whole)) and not after.denoise_mask.any()
    assert tuple(Kept(whole).made_anew.shape) == CELLS[stream] and not Kept(whole).made_anew.any()
    none, one = torch.zeros(CELLS[stream]), torch.zeros(CELLS[stream])
    one.view(-1)[-1] = 0.01
    assert Kept(whole).everything and Kept(whole, none).everything and not Kept(whole, one).everything


def test_a_mask_is_for_every_video_of_a_batch():
    values = mask("video")
    after = Kept(latent("video"), values).apply(video_state(GEOMETRY, batch=2, **FLOAT), GEOMETRY)
    assert after.clean.shape[0] == after.denoise_mask.shape[0] == 2
    assert torch.equal(after.denoise_mask[0], after.denoise_mask[1])
    after.denoise_mask[0] = 7  # tokens own their masks
    assert not (after.denoise_mask[1] == 7).any()


@settings(deadline=None, max_examples=30)
@given(scale=st.floats(0, 1), seed=st.integers(0, 2**31), stream=st.sampled_from(["video", "audio"]))
def test_a_soft_mask_begins_between_the_given_latent_and_the_noised_one(scale, seed, stream):
    """x = (1-m) c + m [(1-s) u + s n], in float64: the vendor's noiser since v1.1.6 over its VideoConditionByMask."""
    random = torch.Generator().manual_seed(seed)
    m = torch.rand(CELLS[stream], generator=random)
    c, u = (torch.randn(1, *SHAPES[stream], generator=random) for _ in range(2))
    start = Start(u, scale, (Kept(c, m),))
    streams = {"video": Start(), "audio": Start()} | {stream: start}
    state = getattr(
        begin(Stage(GEOMETRY, ltx2_sigmas(2), **streams), torch.Generator().manual_seed(1), **FLOAT), stream
    )
    draws = torch.Generator().manual_seed(1)
    tokens = {"video": GEOMETRY.video_tokens, "audio": GEOMETRY.audio_frames}
    noise = {name: torch.randn(1, count, 128, generator=draws).double() for name, count in tokens.items()}
    m, c, u = (PATCHIFY[stream](t).double() for t in (over_channels(m, stream), c, u))
    expected = (1 - m) * c + m * ((1 - scale) * u + scale * noise[stream])
    torch.testing.assert_close(state.latent.double(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("sampler", [sample_euler, sample_res_2s])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("guidance", [OFF, LTX_2_3_DEV], ids=["off", "dev"])
def test_kept_tokens_are_bit_equal_after_both_stages(garbage_model, sampler, dtype, guidance):
    """Whatever the model predicts, from noise alone and from an upsampled latent; the rest is all new."""
    given_latents = {stream: latent(stream).to(dtype) for stream in SHAPES}
    masks = {stream: mask(stream) for stream in SHAPES}
    kept = {stream: Kept(given_latents[stream], masks[stream]) for stream in SHAPES}
    start = AVLatent(*(latent(stream) for stream in SHAPES))
    for stage in (
        stage_one(GEOMETRY, ltx2_sigmas(3), guidance, **kept, sampler=sampler),
        stage_two(GEOMETRY, start, torch.tensor(STAGE_TWO), **kept, sampler=sampler),
    ):
        result = sample_stage(garbage_model, stage, CONTEXTS, torch.Generator().manual_seed(3), dtype=dtype)
        for stream, before in given_latents.items():
            stays = over_channels(masks[stream], stream) == 0
            after = getattr(result, stream)
            assert torch.equal(after[stays], before[stays])
            assert (after[~stays] != before[~stays]).float().mean() > 0.98


@STREAMS
def test_the_model_reads_what_is_kept_as_clean_and_the_rest_as_noise(toy_model, stream):
    model = toy_model(lambda tokens, _t, _p: torch.sin(tokens))
    whole, values = latent(stream), mask(stream)
    sigmas = torch.tensor([1.0, 0.6, 0.0])
    sample_stage(
        model, stage_one(GEOMETRY, sigmas, OFF, **{stream: Kept(whole, values)}), CONTEXTS,
        torch.Generator().manual_seed(0), **FLOAT,
    )  # fmt: skip
    stays = PATCHIFY[stream](over_channels(values, stream))[0, :, 0] == 0
    for call, sigma in zip(model.calls, sigmas, strict=False):
        read = getattr(call, stream)
        assert torch.equal(read.tokens[:, stays], PATCHIFY[stream](whole)[:, stays])
        assert not read.timesteps[:, stays].any() and (read.timesteps[:, ~stays] == sigma).all()
        assert read.sigma.item() == pytest.approx(sigma.item())  # a part is made: the other stream sees its noise


def test_conditions_after_it_hold_their_own_tokens():
    """An image on the first frame counts more than the film; keyframes and references come behind."""
    image, whole = torch.randn(1, 128, 1, 2, 3), latent("video")
    conditions = Kept(whole, mask("video")), FirstFrame(image, 0.75), Keyframe(image, 8), Reference(whole)
    state = begin(
        Stage(GEOMETRY, ltx2_sigmas(2), Start(conditions=conditions)), torch.Generator().manual_seed(0), **FLOAT
    ).video
    assert torch.equal(state.clean[:, :6], patchify_video(image)) and (state.denoise_mask[:, :6] == 0.25).all()
    assert torch.equal(state.clean[:, 18:24], patchify_video(image)) and not state.denoise_mask[:, 18:].any()


@pytest.mark.parametrize("appending", APPENDING)
def test_it_comes_before_what_is_appended(appending):
    state = appending.apply(video_state(GEOMETRY, **FLOAT), GEOMETRY)
    with pytest.raises(ConditioningError, match="comes after keyframes or references; put it before"):
        Kept(latent("video"), mask("video")).apply(state, GEOMETRY)


@pytest.mark.parametrize(
    ("shape", "cells", "words"),
    [
        ((1, 128, 3, 2, 3), (1, 3, 2, 2), r"mask has shape \(1, 3, 2, 2\), expected \(1, 3, 2, 3\)"),
        ((1, 128, 3, 2, 3), (3, 2, 3), r"mask has shape \(3, 2, 3\), expected \(1, 3, 2, 3\)"),
        ((1, 128, 3, 2, 3), (1, 1, 3, 2, 3), r"mask has shape \(1, 1, 3, 2, 3\)"),
        ((1, 8, 18, 16), (1, 17), r"mask has shape \(1, 17\), expected \(1, 18\)"),
        ((1, 8, 18, 16), (1, 18, 16), r"mask has shape \(1, 18, 16\), expected \(1, 18\)"),
        ((2, 128, 3, 2, 3), None, r"latent to keep has shape \(2, 128, 3, 2, 3\), expected \(1, 128"),
        ((128, 3, 2), None, r"latent to keep has shape \(128, 3, 2\)"),
    ],
)
def test_other_shapes_are_refused(shape, cells, words):
    with pytest.raises(ConditioningError, match=words):
        Kept(torch.zeros(shape), None if cells is None else torch.zeros(cells))


@STREAMS
@pytest.mark.parametrize("value", [torch.nan, -0.01, 1.01, torch.inf])
def test_a_mask_outside_0_to_1_is_refused(stream, value):
    values = mask(stream)
    values.view(-1)[1] = value
    with pytest.raises(ConditioningError, match="leaves 0 to 1"):
        Kept(latent(stream), values)


@STREAMS
def test_a_latent_of_another_size_than_the_stages_is_refused(stream):
    longer = LatentGeometry(96, 64, 25, 24.0)
    with pytest.raises(ConditioningError, match="the stage's is .* give it at the stage's own size and length"):
        Kept(latent(stream)).apply(STATES[stream](longer), longer)
