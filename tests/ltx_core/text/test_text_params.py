"""Sizes read from configs and from tensor shapes; tensor names."""

import json
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope
from ltx_duo.ltx_core.text.keys import gemma_key_map
from ltx_duo.ltx_core.text.params import (
    ConnectorParams,
    FeatureExtractorParams,
    FeatureExtractorV20Params,
    extractor_params,
)
from ltx_duo.ltx_core.transformer.rope import rope_frequencies

CONFIGS = Path(__file__).resolve().parents[3] / "ltx_core" / "variants" / "configs"
OFFICIAL = json.loads((Path(__file__).resolve().parents[2] / "data" / "ltx-2.3-config.json").read_text())

# config.json of the published models, the keys that matter.
GEMMA_12B = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "model_type": "gemma3_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
}
GEMMA_270M = {
    "model_type": "gemma3_text",
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "num_attention_heads": 4,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "use_bidirectional_attention": False,
    "vocab_size": 262144,
}


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_gemma_12b_from_its_config():
    params = GemmaParams.from_hf_config(GEMMA_12B)
    assert (params.layers, params.heads, params.kv_heads, params.head_dim) == (48, 16, 8, 256)
    assert [layer for layer, sliding in enumerate(params.sliding) if not sliding] == [5, 11, 17, 23, 29, 35, 41, 47]
    assert params.global_rope == GemmaRope(1e6, 8.0)
    assert params.local_rope == GemmaRope(1e4, 1.0)
    assert (params.sliding_window, params.query_pre_attn_scalar) == (1024, 256)
    assert count(GemmaModel(params, device="meta")) == 48 * 224_148_992 + 1_006_878_720 + 3840 == 11_766_034_176


def test_both_spellings_of_rotary_settings_mean_the_same():
    new = {key: value for key, value in GEMMA_12B["text_config"].items() if key != "rope_scaling"} | {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    }
    old = GEMMA_12B["text_config"] | {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    assert GemmaParams.from_hf_config(new) == GemmaParams.from_hf_config(old) == GemmaParams.from_hf_config(GEMMA_12B)
    other = GemmaParams.from_hf_config(old | {"rope_theta": 5e5, "rope_local_base_freq": 2e4})
    assert (other.global_rope, other.local_rope) == (GemmaRope(5e5, 8.0), GemmaRope(2e4))
    assert GemmaParams.from_hf_config(old | {"sliding_window_pattern": 4}).sliding[:4] == (True, True, True, False)


@pytest.mark.parametrize("config", [GEMMA_12B, GEMMA_270M], ids=["12B", "270M"])
def test_shapes_tell_the_same_as_the_config(config):
    """Also for 4-bit files, whose matrices are packed along their second dimension."""
    expected = GemmaParams.from_hf_config(config)
    names = shapes(GemmaModel(expected, device="meta"))
    packed = {name: (s[0], s[1] // 2) if len(s) == 2 and "proj" in name else s for name, s in names.items()}
    assert GemmaParams.from_shapes(names) == GemmaParams.from_shapes(packed) == expected


def test_incomplete_shapes_are_refused():
    names = shapes(GemmaModel(GemmaParams.from_hf_config(GEMMA_270M), device="meta"))
    with pytest.raises(CheckpointError, match="no tensor 'norm.weight'"):
        GemmaParams.from_shapes({name: shape for name, shape in names.items() if name != "norm.weight"})
    with pytest.raises(CheckpointError, match="holds 17 Gemma layers, but the last is number 17"):
        GemmaParams.from_shapes({name: shape for name, shape in names.items() if not name.startswith("layers.3.")})
    with pytest.raises(CheckpointError, match="holds 0 Gemma layers"):
        GemmaParams.from_shapes({"vision_tower.weight": (3,)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma4"}, "model_type = 'gemma4', expected 'gemma3'"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"hidden_activation": "silu"}, "hidden_activation = 'silu'"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
            "rope_scaling.rope_type = 'yarn', expected one of 'linear'",
        ),
        ({"layer_types": ["full_attention"]}, "expected 18 times"),
        ({"num_key_value_heads": 3}, "4 query heads are not a multiple of its 3"),
    ],
)
def test_other_models_are_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        GemmaParams.from_hf_config(GEMMA_270M | change)


def test_key_map_knows_every_packaging():
    names = [
        "embed_tokens.weight",
        "layers.11.self_attn.q_norm.weight",
        "norm.weight",
        "layers.0.mlp.up_proj.weight_scale",
    ]
    for prefix in ("language_model.model.", "model.language_model.", "model.", ""):
        assert gemma_key_map([prefix + name for name in names]) == {prefix + name: name for name in names}
    assert (
        gemma_key_map(
            [
                "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
                "model.vision_tower.vision_model.embeddings.patch_embedding.weight",
                "multi_modal_projector.mm_soft_emb_norm.weight",
                "language_model.lm_head.weight",
                "lm_head.weight",
                "spiece_model",
                "tokenizer_json",
                "scaled_fp8",
                "text_embedding_projection.video_aggregate_embed.weight",
                "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight",
            ]
        )
        == {}
    )


@pytest.mark.parametrize(
    ("modality", "width", "parameters"), [("video", 4096, 1_612_546_304), ("audio", 2048, 403_620_096)]
)
def test_official_connectors(official_tensors, modality, width, parameters):
    params = ConnectorParams.from_config(OFFICIAL, modality)
    assert (params.width, params.layers, params.gated, params.max_position) == (width, 8, True, 4096)
    assert params.frequencies_float64
    connector = EmbeddingsConnector(params, device="meta")
    assert shapes(connector) == official_tensors(f"{modality}_connector")
    assert count(connector) == parameters


def test_connector_frequencies():
    """Golden numbers of the video connector's rotary grid."""
    params = ConnectorParams.from_config(OFFICIAL, "video")
    grid = rope_frequencies(params.rope_theta, params.width // 2)
    expected = torch.tensor([1.5707963, 1.5778799, 157.4334152, 15707.9632679])
    assert torch.allclose(grid[[0, 1, 1024, 2047]], expected, rtol=1e-7, atol=0)


def test_official_projection():
    params = FeatureExtractorParams.from_config(OFFICIAL, hidden_size=3840, states=49)
    assert shapes(FeatureExtractor(params, device="meta")) == {
        "video_aggregate_embed.weight": (4096, 188160),
        "video_aggregate_embed.bias": (4096,),
        "audio_aggregate_embed.weight": (2048, 188160),
        "audio_aggregate_embed.bias": (2048,),
    }
    extractor = FeatureExtractor(params, device="meta")
    assert count(extractor.video_aggregate_embed) == 770_707_456
    assert count(extractor.audio_aggregate_embed) == 385_353_728


def test_lacking_keys_describe_a_2_0_connector():
    video, audio = (ConnectorParams.from_config({"transformer": {}}, modality) for modality in ("video", "audio"))
    assert video == audio
    assert (video.width, video.heads, video.layers, video.gated) == (3840, 30, 2, False)
    assert not any("gate" in name for name in shapes(EmbeddingsConnector(video, device="meta")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_type": "interleaved"}, "rope_type = 'interleaved', expected 'split'"),
        ({"connector_ff_bias": 3}, "connector_ff_bias = 3, expected true or false"),
        ({"connector_positional_embedding_max_pos": [1, 2]}, r"max_pos = \[1, 2\], expected a list of one number"),
    ],
)
def test_unsupported_connectors_are_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        ConnectorParams.from_config({"transformer": OFFICIAL["transformer"] | change}, "audio")


@pytest.mark.parametrize("config", [{}, {"vae": {}}, {"transformer": None}])
def test_a_config_without_the_transformer_is_refused(config):
    with pytest.raises(CheckpointError, match="no 'transformer' section"):
        ConnectorParams.from_config(config, "video")
    with pytest.raises(CheckpointError, match="no 'transformer' section"):
        FeatureExtractorParams.from_config(config, 3840, 49)


def test_unsupported_projections_are_refused():
    with pytest.raises(CheckpointError, match="lacks transformer.caption_proj_before_connector, expected True"):
        FeatureExtractorParams.from_config({"transformer": {"num_attention_heads": 32}}, 3840, 49)
    lacking = {key: value for key, value in OFFICIAL["transformer"].items() if key != "audio_attention_head_dim"}
    with pytest.raises(CheckpointError, match="lacks transformer.audio_attention_head_dim"):
        FeatureExtractorParams.from_config({"transformer": lacking}, 3840, 49)


def test_the_projection_of_a_config_is_told_by_the_marks_of_the_later_one():
    """As the vendor tells them apart: 2.0's has none of the four, and some of them describe no model."""
    old = json.loads((CONFIGS / "ltx-2.0.json").read_text())
    assert extractor_params(old, 3840, 49) == FeatureExtractorV20Params(3840, 49)
    assert extractor_params(OFFICIAL, 3840, 49) == FeatureExtractorParams(3840, 49, 4096, 2048)
    for key in ("caption_proj_before_connector", "caption_proj_input_norm"):
        partly = {"transformer": old["transformer"] | {key: OFFICIAL["transformer"][key]}}
        with pytest.raises(CheckpointError, match="as in LTX-2.3's text projection"):
            extractor_params(partly, 3840, 49)
