"""Video tokens divided between devices: the numbers of one device up to rounding, and who divides what."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.execution.replicas import replicate
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus
from ltx_duo.ltx_core.execution.token_split import divide_tokens
from ltx_duo.ltx_core.kernels.rotary import RotaryTable
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput, ModalityRope
from ltx_duo.tests.ltx_core.execution.teams import FURTHER, RUNNER, helpers_alive
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, GEOMETRY, LAYERS, Scene

# Sums of products in another order.
ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.03}
TOKENS = GEOMETRY.video_tokens


def drawn(rng, dtype: torch.dtype, bias: bool = False, held: bool = True, **config):
    """A model, its inputs and the prompt's own pass."""
    scene = Scene(rng, **config)
    if not config.get("fp8"):
        scene.model.to(dtype)
    video, audio = (replace(own, tokens=own.tokens.to(dtype)) for own in scene.inputs(0.6, held))
    if bias:
        weaker = scene.draw(1, 1, TOKENS, TOKENS, dtype=torch.float32).abs().neg().to(dtype)
        video = replace(video, bias=weaker)
    if scene.params.keyframe_embedding:
        video = replace(video, single_frames=torch.arange(TOKENS, device=DEVICE) < GEOMETRY.frame_tokens)
    context = [own.to(dtype) for own in scene.prompts[0]]
    return scene, (video, audio), context


def distances(found, expected) -> list[float]:
    pairs = zip(found, expected, strict=True)
    return [float((one.float() - other.float()).norm() / other.float().norm()) for one, other in pairs]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("copies, bias, held", [(1, False, True), (1, True, True), (2, False, False), (3, True, True)])
def test_the_numbers_are_those_of_one_device(rng, dtype, copies, bias, held):
    """Also of three devices, for which neither tokens nor heads divide evenly, and with a bias over all tokens."""
    scene, inputs, context = drawn(rng, dtype, bias, held)
    only = [GuidancePass("cond", *context)]
    [expected] = scene.model(*inputs, only)
    replicas = [replicate(scene.model, FURTHER) for _ in range(copies)]
    with on_several_gpus(scene.model, replicas, runner=RUNNER, fewest_tokens=0) as model:
        for _ in range(2):
            [found] = model(*inputs, only)
            assert [own.shape for own in found] == [own.shape for own in expected]
            assert max(distances(found, expected)) < ROUNDING[dtype]
    [again] = scene.model(*inputs, only)  # the model's own attention is back
    assert all(torch.equal(one, other) for one, other in zip(again, expected, strict=True))
    assert helpers_alive() == 0


@pytest.mark.parametrize("copies", [1, 3])
def test_float8(rng, copies):
    scene, inputs, context = drawn(rng, torch.bfloat16, fp8=True)
    only = [GuidancePass("cond", *context)]
    [expected] = scene.model(*inputs, only)
    replicas = [replicate(scene.model, FURTHER) for _ in range(copies)]
    assert replicas[-1].transformer_blocks[0].attn1.to_q.weight.dtype == torch.float8_e4m3fn
    with on_several_gpus(scene.model, replicas, runner=RUNNER, fewest_tokens=0) as model:
        [found] = model(*inputs, only)
    assert max(distances(found, expected)) < 0.06


def test_four_devices_share_32_heads(rng):
    """As the real model has them: each attends with eight of the picture's and eight of the sound's queries."""
    heads = {"num_attention_heads": 32, "attention_head_dim": 4, "audio_num_attention_heads": 32}
    scene, inputs, context = drawn(rng, torch.float32, audio_attention_head_dim=2, **heads)
    only = [GuidancePass("cond", *context)]
    [expected] = scene.model(*inputs, only)
    replicas = [replicate(scene.model, FURTHER) for _ in range(3)]
    seen = []
    for own in (scene.model, *replicas):
        block = own.transformer_blocks[0]
        for layer in (block.attn1, block.video_to_audio_attn):
            layer.attention = partial(_counted, seen, layer.attention)
    with on_several_gpus(scene.model, replicas, runner=RUNNER, fewest_tokens=0) as model:
        [found] = model(*inputs, only)
    assert max(distances(found, expected)) < ROUNDING[torch.float32]
    assert seen == [8] * 8


def _counted(seen: list[int], attend, q, *rest):
    seen.append(q.shape[1])
    return attend(q, *rest)


def test_ltx_2_5(rng):
    """Whose first latent frame is marked, and whose feed-forward networks have no bias."""
    scene, inputs, context = drawn(rng, torch.float32, ff_bias=False, use_keyframes_abs_pos_embedding=True)
    only = [GuidancePass("cond", *context)]
    [expected] = scene.model(*inputs, only)
    unmarked = (replace(inputs[0], single_frames=None), inputs[1])
    assert min(distances(scene.model(*unmarked, only)[0], expected)) > 100 * ROUNDING[torch.float32]
    with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], runner=RUNNER, fewest_tokens=0) as model:
        [found] = model(*inputs, only)
    assert max(distances(found, expected)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("kind", ["isolated", "perturbed", "without sound"])
def test_passes_that_leave_attention_out(rng, kind):
    scene, (video, audio), context = drawn(rng, torch.float32)
    blocks = frozenset(range(LAYERS) if kind == "perturbed" else ())
    only = [GuidancePass(kind, *context, perturbed_video_blocks=blocks, isolated=kind == "isolated")]
    inputs = (video, None if kind == "without sound" else audio)
    [expected] = scene.model(*inputs, only)
    with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], runner=RUNNER, fewest_tokens=0) as model:
        [found] = model(*inputs, only)
    present = [own for own in expected if own is not None]
    assert max(distances([own for own in found if own is not None], present)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("fewest, divided", [(TOKENS - 1, True), (TOKENS, False)])
def test_a_short_film_stays_on_the_first_device(rng, fewest, divided):
    scene, inputs, context = drawn(rng, torch.float32)
    replica, seen = replicate(scene.model, FURTHER), []
    replica.transformer_blocks[0].register_forward_pre_hook(lambda *_: seen.append(True))
    with on_several_gpus(scene.model, [replica], runner=RUNNER, fewest_tokens=fewest) as model:
        model(*inputs, [GuidancePass("cond", *context)])
    assert bool(seen) == divided


def test_more_devices_than_heads(rng):
    scene, inputs, context = drawn(rng, torch.float32)
    only = [GuidancePass("cond", *context)]
    replicas = [replicate(scene.model, FURTHER)] * scene.params.audio.heads
    with on_several_gpus(scene.model, replicas, runner=RUNNER, fewest_tokens=0) as model:
        for one, other in zip(*model(*inputs, only), *scene.model(*inputs, only), strict=True):
            assert torch.equal(one, other)


@given(tokens=st.integers(1, 40), count=st.integers(1, 8))
def test_every_token_keeps_its_time_and_place(tokens, count):
    table = RotaryTable(torch.zeros(tokens, 2), torch.zeros(tokens, 2), torch.arange(tokens)[:, None], 4, 1)
    own = torch.arange(float(tokens))
    rope = ModalityRope(table, replace(table, index=table.index + 100))
    whole = ModalityInput(own[None, :, None], own[None] * 2, torch.ones(1), rope)
    parts = divide_tokens(whole, count)
    lengths = [part.tokens.shape[1] for part in parts]
    assert len(parts) == count and sum(lengths) == tokens and max(lengths) - min(lengths) <= 1
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), whole.tokens)
    for part in parts:
        places = part.tokens[0, :, 0]
        assert torch.equal(part.timesteps[0], places * 2)
        assert torch.equal(part.rope.tokens.index[:, 0], places.long())
        assert torch.equal(part.rope.cross.index[:, 0], places.long() + 100)
