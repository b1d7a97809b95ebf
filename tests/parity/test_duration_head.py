"""The duration head against diffusers': seconds of both contexts or one, and frame counts within limits."""

import logging

import pytest
import torch

from ltx_duo.ltx_core.duration_head import (
    DurationHead,
    DurationHeadParams,
    frames_of_seconds,
    predicted_frames,
)
from ltx_duo.ltx_core.errors import CheckpointError, GeometryError, LTXError, NotFiniteError
from ltx_duo.ltx_core.key_maps import Component, component_keys
from ltx_duo.ltx_core.safetensors_file import TensorInfo

DIFFUSERS = "diffusers 0.42.1"
TOLERANCE = 1e-5
PARAMS = DurationHeadParams(video_width=48, audio_width=32, width=24, queries=3, heads=4, hidden_width=20)


def shapes(params: DurationHeadParams) -> dict[str, tuple[int, ...]]:
    head = DurationHead(params, device="meta")
    return {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}


PUBLISHED = shapes(DurationHeadParams())


def diffusers_head(params: DurationHeadParams):
    from diffusers.pipelines.ltx2.duration_head import LTX2DurationHead

    return LTX2DurationHead(
        video_cross_attention_dim=params.video_width,
        audio_cross_attention_dim=params.audio_width,
        pooler_hidden_dim=params.width,
        num_queries=params.queries,
        num_pooler_heads=params.heads,
        mlp_hidden_dim=params.hidden_width,
    ).eval()


def diffusers_state(state: dict) -> dict:
    """Diffusers has the three projections apart."""
    renamed = {name.replace("cross_attn.out_proj", "to_out"): tensor for name, tensor in state.items()}
    for kind in ("weight", "bias"):
        joined = renamed.pop(f"attention_pooler.cross_attn.in_proj_{kind}")
        for own, part in zip("qkv", joined.chunk(3), strict=True):
            renamed[f"attention_pooler.to_{own}.{kind}"] = part
    return renamed


@pytest.fixture
def pair(rng, randomise):
    ours, theirs = randomise(DurationHead(PARAMS), rng).eval(), diffusers_head(PARAMS)
    theirs.load_state_dict(diffusers_state(ours.state_dict()), strict=True)
    return ours, theirs


@pytest.mark.parametrize("given", ["both contexts", "video's context", "audio's context"])
def test_seconds(given, pair, rng, parity):
    ours, theirs = pair
    video, audio = torch.randn(2, 17, 48, generator=rng), torch.randn(2, 11, 32, generator=rng)
    contexts = {"both contexts": (video, audio), "video's context": (video, None), "audio's context": (None, audio)}
    seconds = ours(*contexts[given])
    assert seconds.shape == (2,)
    parity.check(f"duration of {given}", DIFFUSERS, seconds, theirs(*contexts[given]), TOLERANCE)


def test_contexts_of_another_dtype_are_cast(pair, rng, parity):
    ours, theirs = (head.bfloat16() for head in pair)
    video, audio = torch.randn(1, 17, 48, generator=rng), torch.randn(1, 11, 32, generator=rng)
    assert ours(video, audio).dtype == torch.bfloat16
    parity.check("duration in bfloat16", DIFFUSERS, ours(video, audio), theirs(video, audio), 2e-2)


def test_at_full_size_it_has_diffusers_tensors():
    with torch.device("meta"):
        ours, theirs = DurationHead(DurationHeadParams()), diffusers_head(DurationHeadParams())
    state = {name: tuple(t.shape) for name, t in diffusers_state(ours.state_dict()).items()}
    assert state == {name: tuple(t.shape) for name, t in theirs.state_dict().items()}


LIMITS = [(1.0, 20.0), (2.0, 3.0), (1.0, 1.02), (0.01, 0.02), (5.0, 5.0)]


@pytest.mark.parametrize("fps", [24.0, 25.0, 23.976, 50.0, 1.0])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_frames(fps, limits, rng, monkeypatch):
    """Every length from far below to far above the limits, and halves of frames."""
    theirs = diffusers_head(PARAMS)
    lengths = [*(torch.rand(40, generator=rng) * 25).tolist(), 0.001, 0.5 / fps, 8.5 / fps, 24.5 / fps, 100.0]
    for seconds in lengths:
        # As float32, in which both heads predict.
        seconds = torch.tensor([seconds])
        monkeypatch.setattr(type(theirs), "forward", lambda *_, seconds=seconds: seconds)
        expected = theirs.predict_num_frames(
            frame_rate=fps, temporal_compression_ratio=8, min_seconds=limits[0], max_seconds=limits[1]
        )
        assert frames_of_seconds(seconds.item(), fps, *limits) == expected


def test_a_prompts_frames(pair, rng):
    ours, theirs = pair
    contexts = torch.randn(1, 17, 48, generator=rng), torch.randn(1, 11, 32, generator=rng)
    expected = theirs.predict_num_frames(*contexts, frame_rate=24.0, temporal_compression_ratio=8)
    assert predicted_frames(ours, *contexts, 24.0) == expected
    with pytest.raises(LTXError, match="2 prompts .* one prompt at a time"):
        predicted_frames(ours, contexts[0].repeat(2, 1, 1), None, 24.0)
    with pytest.raises(LTXError, match="no context"):
        ours(None, None)


@pytest.mark.parametrize(
    ("seconds", "limits", "words"),
    [(40.0, (1.0, 20.0), "asks for 40.00 s, outside of 1 to 20 s"), (1.0, (1.0, 1.02), "No film of 8n")],
)
def test_a_limit_that_is_met_warns(seconds, limits, words, caplog):
    with caplog.at_level(logging.WARNING, logger="ltx_duo"):
        frames_of_seconds(seconds, 24.0, *limits)
    assert words in caplog.text


def test_within_the_limits_nothing_is_said(caplog):
    assert frames_of_seconds(5.0, 24.0) == 113
    assert not caplog.text


def test_refusals():
    with pytest.raises(NotFiniteError, match="predicts inf seconds"):
        frames_of_seconds(float("inf"), 24.0)
    with pytest.raises(GeometryError, match="limits .* 3 to 2 s"):
        frames_of_seconds(2.0, 24.0, 3.0, 2.0)
    with pytest.raises(GeometryError, match="fps"):
        frames_of_seconds(2.0, 0.0)
    with pytest.raises(CheckpointError, match="256 wide with 5 attention heads, expected"):
        DurationHeadParams.from_shapes(PUBLISHED, {"duration_head": {"num_pooler_heads": 5}})
    with pytest.raises(CheckpointError, match="lacks its mlp_hidden.weight"):
        DurationHeadParams.from_shapes({n: shape for n, shape in PUBLISHED.items() if n != "mlp_hidden.weight"}, {})


def test_sizes_and_names_of_published_files():
    """They say nothing of the head itself."""
    assert DurationHeadParams.from_shapes(PUBLISHED, {}) == DurationHeadParams()
    assert DurationHeadParams.from_shapes(shapes(PARAMS), {"duration_head": {"num_pooler_heads": 4}}) == PARAMS
    file = {f"duration_head.{name}": TensorInfo("BF16", shape) for name, shape in PUBLISHED.items()}
    keys = component_keys(file | {"transformer_blocks.0.attn1.to_k.weight": TensorInfo("BF16", (1, 1))})
    assert list(keys) == [Component.DURATION_HEAD]
    assert list(keys[Component.DURATION_HEAD].values()) == list(PUBLISHED)
