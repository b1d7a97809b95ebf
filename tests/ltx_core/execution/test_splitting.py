import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.execution.splitting import Pieces, PiecewiseModel, TokenChunks, group_passes
from ltx_duo.ltx_core.kernels.activation import Activation
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Contexts, passes
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.transformer.arrangement import IN_ORDER
from ltx_duo.ltx_core.transformer.feed_forward import FeedForward
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.transformer.runner import one_after_another
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler, start_stage

CONFIG = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
SMALL = {"num_layers": 3, "num_attention_heads": 2, "attention_head_dim": 24, "cross_attention_dim": 48,
         "audio_num_attention_heads": 2, "audio_attention_head_dim": 16, "audio_cross_attention_dim": 32}  # fmt: skip
GEOMETRY = LatentGeometry(96, 64, 17, 24.0)


class NoMemory(BaseException):
    pass


@pytest.fixture
def model(rng):
    params = TransformerParams.from_config({**CONFIG, "transformer": {**CONFIG["transformer"], **SMALL}})
    model = AVTransformer(params).eval().requires_grad_(False)
    for tensor in model.state_dict().values():
        noise = torch.randn(tensor.shape, generator=rng)
        tensor.copy_(noise * tensor.shape[-1] ** -0.5 if tensor.ndim == 2 else noise * 0.1)
    return model


@pytest.fixture
def contexts(rng):
    return Contexts(*(torch.randn(1, 8, width, generator=rng) for width in (48, 32, 48, 32)))


@pytest.fixture
def four(contexts):
    return passes(LTX_2_3_DEV, contexts, 3)


def sample(model, contexts):
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(5), dtype=torch.float32)
    return run_sampler(sample_euler, model, state, ltx2_sigmas(2), LTX_2_3_DEV, contexts)


def close(one, other):
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one.latents(), other.latents(), strict=True))


@pytest.mark.parametrize(
    "together, groups",
    [
        (4, [["cond", "perturbed", "isolated", "negative"]]),
        (9, [["cond", "perturbed", "isolated", "negative"]]),
        (3, [["cond", "perturbed"], ["isolated", "negative"]]),
        (2, [["cond", "perturbed"], ["isolated", "negative"]]),
        (1, [["cond"], ["perturbed"], ["isolated"], ["negative"]]),
    ],
)
def test_passes_that_share_most_go_together(four, together, groups):
    assert [[four[i].name for i in group] for group in group_passes(four, together)] == groups


@pytest.mark.parametrize(
    "together, groups", [(3, [["cond", "perturbed", "negative"]]), (2, [["cond", "perturbed"], ["negative"]])]
)
def test_passes_of_a_sound_alone_are_told_apart_by_its_contexts(contexts, together, groups):
    alone = replace(contexts, video=None, negative_video=None)
    three = passes(LTX_2_3_DEV, alone, 2, with_video=False)
    assert [own.name for own in three] == ["cond", "negative", "perturbed"]
    assert [[three[i].name for i in group] for group in group_passes(three, together)] == groups


def test_a_single_pass_is_one_group(four):
    assert group_passes(four[:1], 4) == [[0]]


@pytest.mark.parametrize("pieces", [Pieces(2), Pieces(1), Pieces(4, 3), Pieces(1, 16)])
def test_pieces_do_not_change_the_film(model, contexts, pieces):
    assert close(sample(PiecewiseModel(model, pieces), contexts), sample(model, contexts))


@pytest.mark.parametrize(("pieces", "arranged"), [(Pieces(2), IN_ORDER), (Pieces(2, 4), TokenChunks(4))])
def test_each_group_runs_its_blocks_as_the_caller_says(model, contexts, four, pieces, arranged):
    """Graphs and cancelling are handed in there; chunks reach the blocks through it."""
    asked = []

    def runner(blocks, plans, streams, conditionings, arrangement=IN_ORDER):
        asked.append((blocks, arrangement))
        return one_after_another(blocks, plans, streams, conditionings, arrangement)

    state = start_stage(GEOMETRY, torch.Generator().manual_seed(5), dtype=torch.float32)
    denoise = guided_denoiser(PiecewiseModel(model, pieces), state, LTX_2_3_DEV, contexts, run_blocks=runner)
    denoise(state, torch.tensor(0.5), 0)
    assert asked == [(model.transformer_blocks, arranged)] * 2


@pytest.mark.parametrize(("chunks", "most"), [(1, 18), (4, 5), (16, 2)])
def test_chunks_reach_the_networks_of_the_blocks(model, contexts, chunks, most):
    """Of 18 tokens of video and of sound."""
    seen = set()
    for block in model.transformer_blocks:
        block.ff.net[2].register_forward_hook(lambda _m, args, _out: seen.add(args[0].shape[-2]))
    sample(PiecewiseModel(model, Pieces(1, chunks)), contexts)
    assert max(seen) == most


def test_the_way_down():
    way = [Pieces(4)]
    while way[-1].smaller() is not None:
        way.append(way[-1].smaller())
    assert [(p.together, p.chunks) for p in way] == [(4, 1), (2, 1), (1, 1), (1, 4), (1, 16)]


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_failure_inside_a_block_starts_the_evaluation_again(model, contexts, failures):
    expected = sample(model, contexts)
    left, seen = [failures], []
    inner = model.transformer_blocks[1].register_forward_hook(lambda *_: fail())

    def fail():
        if left[0]:
            left[0] -= 1
            raise NoMemory

    def retry(error, tried, smaller):
        seen.append((tried, smaller))
        return isinstance(error, NoMemory) and smaller is not None

    piecewise = PiecewiseModel(model, Pieces(4), retry)
    try:
        result = sample(piecewise, contexts)
    finally:
        inner.remove()
    assert close(result, expected)
    way = [(4, 1), (2, 1), (1, 1), (1, 4), (1, 16)]
    assert [(t.together, t.chunks) for t, _ in seen] == way[:failures]
    assert (piecewise.pieces.together, piecewise.pieces.chunks) == way[failures]


def test_no_smaller_pieces_gives_the_failure_up(model, contexts):
    def fail(*_):
        raise NoMemory

    model.transformer_blocks[1].register_forward_hook(fail)
    with pytest.raises(NoMemory):
        sample(PiecewiseModel(model, Pieces(4), lambda error, tried, smaller: smaller is not None), contexts)


def test_other_failures_are_not_tried_again(model, contexts):
    calls = []

    def fail(*_):
        calls.append(1)
        raise KeyboardInterrupt

    model.transformer_blocks[0].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        sample(PiecewiseModel(model, Pieces(4)), contexts)
    assert len(calls) == 1


def test_one_pass_skips_steps_that_change_nothing(model, contexts, four):
    state = start_stage(GEOMETRY, torch.Generator().manual_seed(5), dtype=torch.float32)
    tried = []

    def retry(error, pieces, smaller):
        tried.append(pieces)
        return False

    model.transformer_blocks[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_sampler(sample_euler, PiecewiseModel(model, Pieces(4), retry), state, ltx2_sigmas(2), OFF, contexts)
    assert [p.together for p in tried] == [1]


def test_chunks_bound_what_a_network_sees(rng):
    network = FeedForward(8)
    x = torch.randn(2, 10, 8, generator=rng)
    sizes = []
    network.net[2].register_forward_hook(lambda _m, args, _out: sizes.append(args[0].shape[1]))
    with torch.no_grad():
        whole = network(x)
        assert torch.allclose(TokenChunks(4).feed_forward(network, Activation(x)), whole, atol=1e-6)
    assert sizes == [10, 3, 3, 3, 1]


def test_more_chunks_than_tokens():
    x = torch.arange(6.0).reshape(1, 3, 2)
    assert torch.equal(TokenChunks(16).feed_forward(lambda part: part + 1, Activation(x)), x + 1)
