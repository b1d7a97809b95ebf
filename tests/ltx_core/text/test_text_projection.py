"""Feature extractors of 2.3 and 2.0 against their formulas in float64, token by token."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.text.encoder import TextEncoder
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor, flatten_states
from ltx_duo.ltx_core.text.feature_extractor_v20 import FeatureExtractorV20
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope
from ltx_duo.ltx_core.text.params import FeatureExtractorParams, FeatureExtractorV20Params

PARAMS = FeatureExtractorParams(hidden_size=6, states=3, video_width=8, audio_width=4)


def states_and(module, seed: int, tokens: int = 5, batch: int = 1):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return [torch.randn(batch, tokens, 6, generator=generator) * 10**layer for layer in range(3)], module


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 9), batch=st.integers(1, 2))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_projection_formula(seed, tokens, batch):
    states, extractor = states_and(FeatureExtractor(PARAMS), seed, tokens, batch)
    video, audio = extractor(states)
    for row in range(batch):
        for token in range(tokens):
            flat = torch.empty(18, dtype=torch.float64)
            for layer, state in enumerate(states):
                h = state[row, token].double()
                for channel in range(6):
                    flat[channel * 3 + layer] = h[channel] / ((h**2).mean() + 1e-6).sqrt()
            for features, linear, width in (
                (video, extractor.video_aggregate_embed, 8),
                (audio, extractor.audio_aggregate_embed, 4),
            ):
                expected = linear.weight.double() @ (flat * (width / 6) ** 0.5) + linear.bias.double()
                assert torch.allclose(features[row, token].double(), expected, rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_projection_formula_of_2_0(seed, tokens):
    states, extractor = states_and(FeatureExtractorV20(FeatureExtractorV20Params(6, 3)), seed, tokens, batch=2)
    video, audio = extractor(states)
    assert torch.equal(video, audio)
    for row in range(2):
        flat = torch.empty(tokens, 18, dtype=torch.float64)
        for layer, state in enumerate(states):
            h = state[row].double()
            normed = 8 * (h - h.mean()) / (h.max() - h.min() + 1e-6)
            for channel in range(6):
                flat[:, channel * 3 + layer] = normed[:, channel]
        expected = flat @ extractor.aggregate_embed.weight.double().T
        assert torch.allclose(video[row].double(), expected, rtol=1e-5, atol=1e-4)
    assert list(extractor.state_dict()) == ["aggregate_embed.weight"]


def test_low_precision_states_are_normalised_in_float32():
    """Squares rounded to bfloat16 would move the root mean square by up to a part in 256."""
    states, extractor = states_and(FeatureExtractor(PARAMS), 3, tokens=50)
    low = [state.bfloat16() for state in states]
    flat = flatten_states(low, extractor.input_scale(8))
    assert flat.dtype == torch.bfloat16
    exact = flatten_states([state.double().float() for state in low], extractor.input_scale(8))
    assert torch.equal(flat, exact.bfloat16())


def test_gradients_reach_states_and_weights():
    for extractor in (FeatureExtractor(PARAMS), FeatureExtractorV20(FeatureExtractorV20Params(6, 3))):
        states, extractor = states_and(extractor, 4)
        states = [state.requires_grad_() for state in states]
        sum(features.square().sum() for features in extractor(states)).backward()
        assert all(tensor.grad.abs().max() > 0 for tensor in (*states, *extractor.parameters()))


@torch.no_grad()
def test_encoder_joins_gemma_and_the_projection_of_its_variant():
    gemma = GemmaParams(
        vocab_size=9,
        hidden_size=6,
        intermediate_size=8,
        heads=1,
        kv_heads=1,
        head_dim=4,
        sliding=(True, False),
        sliding_window=8,
        global_rope=GemmaRope(1e6, 8.0),
        local_rope=GemmaRope(1e4),
    )
    ids = torch.tensor([[2, 5, 7]])
    for params, kind, widths in (
        (PARAMS, FeatureExtractor, (8, 4)),
        (FeatureExtractorV20Params(6, 3), FeatureExtractorV20, (6, 6)),
    ):
        _, encoder = states_and(TextEncoder(gemma, params), 5)
        assert isinstance(encoder.feature_extractor, kind)
        video, audio = encoder.features(ids)
        assert (video.shape, audio.shape) == ((1, 3, widths[0]), (1, 3, widths[1]))
        expected = encoder.feature_extractor(encoder.gemma(ids, first_position=1021))
        assert torch.equal(video, expected[0]) and torch.equal(audio, expected[1])
        assert {name.split(".")[0] for name in encoder.state_dict()} == {"gemma", "feature_extractor"}


def test_encoder_reports_to_the_caller():
    class Reporter:
        checks = 0

        def check_cancel(self):
            self.checks += 1

    gemma = GemmaParams(9, 6, 8, 1, 1, 4, (True,) * 2, 8, GemmaRope(1e6), GemmaRope(1e4))
    _, encoder = states_and(TextEncoder(gemma, PARAMS), 6)
    reporter = Reporter()
    encoder.features(torch.tensor([[2]]), reporter)
    assert reporter.checks == 2
