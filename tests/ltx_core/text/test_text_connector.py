"""Embeddings connector: where registers stand, the length of the context, who sees whom."""

import dataclasses
import types

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.params import ConnectorParams

TINY = ConnectorParams(heads=2, head_dim=4, layers=2, gated=True, max_position=64.0, registers=4, context_length=16)


def build(params: ConnectorParams, seed: int = 0, **arguments) -> EmbeddingsConnector:
    generator = torch.Generator().manual_seed(seed)
    connector = EmbeddingsConnector(params, **arguments)
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return connector


@given(tokens=st.integers(1, 40), batch=st.integers(1, 2))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_registers_fill_up_by_absolute_position(tokens, batch):
    connector = build(dataclasses.replace(TINY, layers=0))
    features = torch.randn(batch, tokens, 8)
    context = connector(features)
    length = max(16, 4 * ((tokens + 3) // 4))
    assert context.shape == (batch, length, 8)
    for row in range(batch):
        for place in range(length):
            x = features[row, place] if place < tokens else connector.learnable_registers[place % 4]
            assert torch.allclose(context[row, place], x / (x.square().mean() + 1e-6).sqrt(), atol=1e-5)


@torch.no_grad()
def test_default_context_is_1024_tokens_long():
    connector = build(ConnectorParams(heads=1, head_dim=4, layers=0, gated=False, max_position=4096.0))
    assert connector(torch.zeros(1, 1, 4)).shape == (1, 1024, 4)
    assert connector(torch.zeros(1, 1024, 4)).shape == (1, 1024, 4)
    assert connector(torch.zeros(1, 1025, 4)).shape == (1, 1152, 4)


@torch.no_grad()
def test_every_place_sees_every_other_one():
    connector = build(TINY)
    features = torch.randn(1, 3, 8)
    for place in range(3):
        other = features.clone()
        other[0, place] += 1
        assert ((connector(features) - connector(other)).abs().amax(-1) > 0).all()


@torch.no_grad()
def test_positions_and_gates_matter():
    features = torch.randn(1, 3, 8)
    expected = build(TINY)(features)
    assert not torch.allclose(build(dataclasses.replace(TINY, max_position=60.0))(features), expected, atol=1e-4)
    open_gates = build(TINY)
    for block in open_gates.transformer_1d_blocks:
        block.attn1.to_gate_logits.weight.zero_()
        block.attn1.to_gate_logits.bias.zero_()
    ungated = build(dataclasses.replace(TINY, gated=False))
    ungated.load_state_dict({name: t for name, t in open_gates.state_dict().items() if "gate" not in name})
    assert torch.allclose(open_gates(features), ungated(features), atol=1e-6)
    assert not torch.allclose(expected, ungated(features), atol=1e-4)


def test_layers_come_from_ops_and_attention_is_injected():
    made, masks = [], []

    class Linear(nn.Linear):
        def __init__(self, *sizes, **arguments):
            super().__init__(*sizes, **arguments)
            made.append(arguments)

    def attention(q, k, v, mask=None):
        masks.append(mask)
        return nn.functional.scaled_dot_product_attention(q, k, v)

    ops = types.SimpleNamespace(Linear=Linear)
    connector = build(TINY, ops=ops, attention=attention, dtype=torch.bfloat16, device="cpu")
    assert connector(torch.zeros(1, 2, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert len(made) == 2 * 7
    assert all(a["dtype"] == torch.bfloat16 and a["device"] == "cpu" for a in made)
    assert masks == [None, None]


@torch.no_grad()
def test_registers_follow_the_activations_dtype():
    connector = build(TINY)
    expected = connector(torch.ones(1, 2, 8))
    connector.learnable_registers.data = connector.learnable_registers.double()
    context = connector(torch.ones(1, 2, 8))
    assert context.dtype == torch.float32
    assert torch.equal(context, expected)


def test_every_weight_can_be_trained():
    connector = build(TINY)
    features = torch.randn(1, 3, 8, requires_grad=True)
    (connector(features) * torch.randn(1, 16, 8)).sum().backward()
    assert features.grad.abs().max() > 0
    for name, parameter in connector.named_parameters():
        # A bias of all keys moves every logit of a query alike, except through the normalisation of keys.
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
