"""Gemma-4's hidden states, config and tokenizer as LTX-2.5 uses them, against transformers."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from ltx_duo.ltx_core.text.encoder import TextEncoder
from ltx_duo.ltx_core.text.gemma4 import Gemma4Model
from ltx_duo.ltx_core.text.gemma4_params import Gemma4Params
from ltx_duo.ltx_core.text.keys import gemma_key_map
from ltx_duo.ltx_core.text.params import FeatureExtractorParams
from ltx_duo.ltx_core.text.tokenizer import GemmaTokenizer

HF = "transformers"
LOCAL = Path(__file__).resolve().parents[2] / ".local"
TOLERANCE = 1e-5
# Where positions are shifted against each other: angles of up to 1024 radians are then rounded differently in float32.
SHIFTED = 1e-3

GEMMA = {
    "vocab_size": 60,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "sliding_window": 8,
    "model_type": "gemma4_unified_text",
}
ROPES = {
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.4, "rope_theta": 3e4, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}
VARIANTS = {
    "12B's form": {},
    "values of their own": {"attention_k_eq_v": False},
    "other frequencies": {"rope_parameters": ROPES},
    "own layer types": {"layer_types": ["full_attention", "sliding_attention"] * 5 + ["full_attention"] * 2},
    "a last layer out of the pattern": {"num_hidden_layers": 8, "rms_norm_eps": 1e-2},
}


def text_model(rng, randomise, raw: dict):
    reference = randomise(transformers.Gemma4UnifiedTextModel(transformers.Gemma4UnifiedTextConfig(**raw)).eval(), rng)
    settle(reference.layers, rng)
    return reference


def settle(layers, rng) -> None:
    """Layer numbers other than 1; and small queries, as nothing else keeps the softmax of random ones from being all
    or nothing, where rounding alone grows to 1e-4 (the reference's own against float64)."""
    for layer in layers:
        layer.layer_scalar.copy_(0.5 + torch.rand(1, generator=rng))
        layer.self_attn.q_norm.weight.mul_(0.2)


def gemma_pair(rng, randomise, **changes):
    raw = GEMMA | changes
    reference = text_model(rng, randomise, raw)
    return our_gemma(reference.state_dict(), Gemma4Params.from_hf_config(raw)), reference


def our_gemma(state: dict, params: Gemma4Params) -> Gemma4Model:
    model = Gemma4Model(params)
    model.load_state_dict({ours: state[theirs] for theirs, ours in gemma_key_map(state).items()}, strict=True)
    return model


def draw_ids(rng, tokens: int) -> torch.Tensor:
    return torch.randint(3, 60, (1, tokens), generator=rng)


def left_padded(ids: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    padding = length - ids.shape[1]
    mask = torch.ones(1, length, dtype=torch.int64)
    mask[:, :padding] = 0
    return torch.cat((ids.new_zeros(1, padding), ids), dim=1), mask


@pytest.mark.parametrize("variant", VARIANTS)
def test_gemma_4(parity, rng, randomise, variant):
    """30 tokens are more than the window of 8, so that sliding layers leave some out."""
    ours, reference = gemma_pair(rng, randomise, **VARIANTS[variant])
    ids = draw_ids(rng, 30)
    expected = reference(ids, output_hidden_states=True).hidden_states
    assert len(expected) == ours.params.layers + 1
    parity.check(f"Gemma-4 states, {variant}", HF, torch.stack(ours(ids)), torch.stack(expected), TOLERANCE)
    padded, mask = left_padded(ids, 47)
    expected = reference(padded, attention_mask=mask, output_hidden_states=True).hidden_states
    expected = torch.stack(expected)[:, :, -30:]
    states = torch.stack(ours(ids, first_position=17))
    parity.check(f"Gemma-4 states, {variant}, reference padded", HF, states, expected, TOLERANCE)


def test_gemma_4_padded_to_1024(parity, rng, randomise):
    ours, reference = gemma_pair(rng, randomise, sliding_window=1024)
    ids = draw_ids(rng, 12)
    padded, mask = left_padded(ids, 1024)
    expected = torch.stack(reference(padded, attention_mask=mask, output_hidden_states=True).hidden_states)
    expected = expected[:, :, -12:]
    states = torch.stack(ours(ids, first_position=1024 - 12))
    parity.check("Gemma-4 states, padded to 1024", HF, states, expected, TOLERANCE)
    parity.check("Gemma-4 states, padded to 1024, own positions", HF, torch.stack(ours(ids)), expected, SHIFTED)


def test_gemma_4_in_bfloat16_is_no_less_exact_than_the_reference(rng, randomise):
    ours, reference = gemma_pair(rng, randomise, sliding_window=1024)
    ours.bfloat16(), reference.bfloat16()
    ids = draw_ids(rng, 300)
    our_states, their_states = ours(ids), reference(ids, output_hidden_states=True).hidden_states
    assert torch.equal(our_states[0], their_states[0])
    exact = torch.stack(ours.float()(ids))
    our_error, their_error = (
        (torch.stack(list(states)).float() - exact).square().mean().sqrt() for states in (our_states, their_states)
    )
    assert our_error <= 1.05 * their_error


@pytest.mark.parametrize("raw", [GEMMA | change for change in VARIANTS.values()], ids=VARIANTS.keys())
def test_configs_written_by_transformers_mean_the_same(raw):
    """Newer ones write the sizes of global layers into `per_layer_config`."""
    written = json.loads(transformers.Gemma4UnifiedTextConfig(**raw).to_json_string(use_diff=False))
    assert "per_layer_config" in written and "global_head_dim" not in written
    assert Gemma4Params.from_hf_config(written) == Gemma4Params.from_hf_config(raw)
    assert Gemma4Params.from_hf_config({"model_type": "gemma4_unified", "text_config": raw}) == (
        Gemma4Params.from_hf_config(raw)
    )


def test_defaults_are_those_of_transformers():
    written = json.loads(transformers.Gemma4UnifiedTextConfig().to_json_string(use_diff=False))
    assert Gemma4Params.from_hf_config({"model_type": "gemma4_unified"}) == Gemma4Params.from_hf_config(written)


@pytest.mark.parametrize("flat", [True, False], ids=["flat names", "Hugging Face's names"])
def test_the_whole_model_in_both_published_forms(parity, rng, randomise, flat):
    """The multi-modal model's text path; a single file may have its language model's names as ComfyUI has them."""
    vision = {"mm_embed_dim": 48, "mm_posemb_size": 4, "output_proj_dims": 48}
    config = transformers.Gemma4UnifiedConfig(
        text_config=transformers.Gemma4UnifiedTextConfig(**GEMMA), vision_config=vision, audio_config={}
    )
    whole = randomise(transformers.Gemma4UnifiedForConditionalGeneration(config).eval(), rng)
    settle(whole.model.language_model.layers, rng)
    state = whole.state_dict()
    if flat:
        state = {name.replace("model.language_model.", "model."): tensor for name, tensor in state.items()}
    assert len(state) > len(gemma_key_map(state))
    ours = our_gemma(state, Gemma4Params.from_hf_config(json.loads(config.to_json_string(use_diff=False))))
    ids = draw_ids(rng, 30)
    expected = whole.model(input_ids=ids, output_hidden_states=True).hidden_states
    form = "flat" if flat else "Hugging Face's"
    states, expected = torch.stack(ours(ids)), torch.stack(expected)
    parity.check(f"Gemma-4 states, whole model, {form} names", HF, states, expected, TOLERANCE)


def test_sizes_from_shapes(rng, randomise):
    raw = GEMMA | {"sliding_window": 1024}
    state = text_model(rng, randomise, raw).state_dict()
    assert Gemma4Params.from_shapes({name: tuple(t.shape) for name, t in state.items()}) == (
        Gemma4Params.from_hf_config(raw)
    )


def test_the_text_encoder_takes_either_gemma(rng, randomise):
    ours, reference = gemma_pair(rng, randomise)
    encoder = randomise(TextEncoder(ours.params, FeatureExtractorParams(48, 13, 32, 16)), rng)
    encoder.gemma = ours
    ids = draw_ids(rng, 9)
    padded, mask = left_padded(ids, 1024)
    states = reference(padded, attention_mask=mask, output_hidden_states=True).hidden_states
    expected = encoder.feature_extractor([state[:, -9:] for state in states])
    for features, reference_features in zip(encoder.features(ids), expected, strict=True):
        assert torch.allclose(features, reference_features, rtol=1e-4, atol=1e-4)


def test_the_packed_tokenizer_begins_every_prompt_with_bos():
    """Gemma-4's tokenizer.json adds no begin-of-text token by itself; single files hold it as bytes of either sign."""
    written = json.loads((LOCAL / "tokenizer" / "tokenizer.json").read_text())
    written["post_processor"] = None
    packed = json.dumps(written).encode()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_buffer(packed), bos_token="<bos>")
    tensor = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    for dtype in (torch.uint8, torch.int8):
        ours = GemmaTokenizer.from_tensors({"tokenizer_json": tensor.view(dtype)})
        for prompt in ("A fox jumps over a stream; “water” splashes.", ""):
            plain = theirs(prompt).input_ids
            assert 2 not in plain
            assert ours.encode(prompt) == [2, *plain]
