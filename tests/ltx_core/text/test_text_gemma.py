"""Gemma-3's behaviour that needs no reference: who sees whom, dtypes, cancelling, training."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ltx_duo.ltx_core.text.gemma import GemmaModel, GemmaRMSNorm, causal_mask
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope

TINY = GemmaParams(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=32,
    heads=4,
    kv_heads=2,
    head_dim=8,
    sliding=(True, False),
    sliding_window=64,
    global_rope=GemmaRope(1e6, 8.0),
    local_rope=GemmaRope(1e4),
    query_pre_attn_scalar=8,
)


def build(params: GemmaParams, seed: int = 0, **arguments) -> GemmaModel:
    generator = torch.Generator().manual_seed(seed)
    model = GemmaModel(params, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return model


@torch.no_grad()
def changed_tokens(params: GemmaParams, tokens: int, changed: int) -> set[int]:
    """Places whose last hidden state depends on the token at `changed`."""
    model = build(params, seed=tokens)
    ids = torch.arange(1, tokens + 1)[None]
    other = ids.clone()
    other[0, changed] = 0
    difference = (model(ids)[-1] - model(other)[-1]).abs().amax(-1)[0]
    return set(difference.nonzero()[:, 0].tolist())


@given(tokens=st.integers(1, 12), changed=st.integers(0, 11), window=st.integers(1, 13))
@settings(max_examples=25, deadline=None)
def test_sliding_layers_see_their_window_and_nothing_else(tokens, changed, window):
    changed = min(changed, tokens - 1)
    params = dataclasses.replace(TINY, sliding=(True,), sliding_window=window)
    assert changed_tokens(params, tokens, changed) == set(range(changed, min(changed + window, tokens)))


@given(tokens=st.integers(1, 12), changed=st.integers(0, 11))
@settings(max_examples=15, deadline=None)
def test_global_layers_see_everything_before_them(tokens, changed):
    changed = min(changed, tokens - 1)
    params = dataclasses.replace(TINY, sliding=(False,), sliding_window=2)
    assert changed_tokens(params, tokens, changed) == set(range(changed, tokens))


def test_mask_values():
    mask = causal_mask(4, 2, torch.zeros(1, dtype=torch.bfloat16))
    assert mask.dtype == torch.bfloat16
    assert (mask == 0)[0, 0].tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, True, True, False],
        [False, False, True, True],
    ]
    assert mask.isfinite().all()
    assert causal_mask(1, 2, mask) is None


@torch.no_grad()
def test_global_and_local_layers_use_their_own_positions():
    """Each rotary setting matters exactly when a layer of its kind exists."""
    ids = torch.arange(9)[None]
    for sliding, changes in ((True, "local_rope"), (False, "global_rope")):
        params = dataclasses.replace(TINY, sliding=(sliding,))
        expected = build(params)(ids)[-1]
        for name in ("local_rope", "global_rope"):
            for setting in (GemmaRope(77.0, 8.0 if name == "global_rope" else 1.0), GemmaRope(1e6, 3.0)):
                result = build(dataclasses.replace(params, **{name: setting}))(ids)[-1]
                assert torch.equal(result, expected) == (name != changes)


@torch.no_grad()
def test_attention_function_gets_whole_heads():
    seen = []

    def attention(q, k, v, mask=None):
        seen.append((tuple(q.shape), tuple(k.shape), tuple(v.shape), tuple(mask.shape)))
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    ids = torch.arange(5)[None]
    states = build(TINY, attention=attention)(ids)
    assert seen == [((1, 4, 5, 8), (1, 4, 5, 8), (1, 4, 5, 8), (1, 1, 5, 5))] * 2
    assert torch.equal(states[-1], build(TINY)(ids)[-1])


@torch.no_grad()
def test_states_are_layer_outputs_and_the_last_is_normalised():
    model = build(TINY)
    ids = torch.tensor([[2, 7, 9]])
    states = model(ids)
    assert len(states) == 3
    assert torch.equal(states[0], model.embed_tokens(ids) * 4)
    root_mean_square = (states[-1] / (1 + model.norm.weight)).square().mean(-1).sqrt()
    assert torch.allclose(root_mean_square, torch.ones(1, 3), atol=1e-4)
    with_another_end = build(TINY)
    with_another_end.norm.weight.zero_()
    assert all(torch.equal(a, b) for a, b in zip(states[:-1], with_another_end(ids)[:-1], strict=True))


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, 62.0), (torch.float32, 3840**0.5)])
@torch.no_grad()
def test_embedding_scale_is_rounded_to_the_activations(dtype, scale):
    params = dataclasses.replace(TINY, hidden_size=3840, sliding=(True,))
    model = build(params, dtype=dtype)
    states = model(torch.tensor([[1, 2]]))
    assert {state.dtype for state in states} == {dtype}
    assert torch.equal(states[0][0], model.embed_tokens.weight[1:3] * torch.tensor(scale, dtype=dtype))


@torch.no_grad()
def test_norm_weights_are_added_to_one_in_float32():
    """In bfloat16, 1 + 0.003 is 1."""
    norm = GemmaRMSNorm(4, eps=1e-6, dtype=torch.bfloat16)
    norm.weight.fill_(0.003)
    x = torch.tensor([1.3, -0.7, 2.1, -1.9], dtype=torch.bfloat16)
    exact = x.double() / (x.double().square().mean() + 1e-6).sqrt() * (1 + norm.weight.double())
    assert torch.equal(norm(x), exact.bfloat16())


@torch.no_grad()
def test_compute_dtype_rules_over_the_stored_embedding():
    model = build(TINY, compute_dtype=torch.float32)
    model.embed_tokens.to(torch.bfloat16)
    states = model(torch.tensor([[1, 2]]))
    assert {state.dtype for state in states} == {torch.float32}
    assert torch.equal(states[0], model.embed_tokens.weight[None, 1:3].float() * 4)


@torch.no_grad()
def test_bare_weights_may_be_stored_in_another_dtype():
    model = build(TINY)
    ids = torch.tensor([[3, 1, 4]])
    for module in model.modules():
        if type(module).__name__ == "GemmaRMSNorm":
            module.weight.data = module.weight.to(torch.bfloat16).float()
    expected = model(ids)[-1]
    for module in model.modules():
        if type(module).__name__ == "GemmaRMSNorm":
            module.weight.data = module.weight.to(torch.bfloat16)
    assert torch.equal(model(ids)[-1], expected)


def test_cancel_is_possible_before_every_layer():
    class Cancel(Exception):
        pass

    class Reporter:
        def __init__(self, allowed):
            self.left = allowed

        def check_cancel(self):
            self.left -= 1
            if self.left < 0:
                raise Cancel

    model = build(dataclasses.replace(TINY, sliding=(True,) * 5))
    for allowed in (0, 1, 4):
        with pytest.raises(Cancel):
            model(torch.tensor([[2, 3]]), Reporter(allowed))
    enough = Reporter(5)
    model(torch.tensor([[2, 3]]), enough)
    assert enough.left == 0


def test_every_weight_can_be_trained():
    model = build(TINY)
    sum(state.square().sum() for state in model(torch.tensor([[2, 7, 1, 8]]))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
