"""The text path against transformers (Gemma-3), the vendor's package, diffusers and ComfyUI."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from ltx_core.text_encoders.gemma.embeddings_connector import (
    AudioEmbeddings1DConnectorConfigurator,
    Embeddings1DConnectorConfigurator,
)
from ltx_core.text_encoders.gemma.embeddings_processor import EmbeddingsProcessor, convert_to_additive_mask
from ltx_core.text_encoders.gemma.encoders.base_encoder import GemmaTextEncoder
from ltx_core.text_encoders.gemma.feature_extractor import FeatureExtractorV1, FeatureExtractorV2
from ltx_core.text_encoders.gemma.tokenizer import LTXVGemmaTokenizer
from safetensors.torch import load_file, save_file
from torch import nn

from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.encoder import TextEncoder
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor
from ltx_duo.ltx_core.text.feature_extractor_v20 import FeatureExtractorV20
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams
from ltx_duo.ltx_core.text.keys import gemma_key_map
from ltx_duo.ltx_core.text.params import ConnectorParams, FeatureExtractorParams, FeatureExtractorV20Params
from ltx_duo.ltx_core.text.tokenizer import GemmaTokenizer

VENDOR, HF, DIFFUSERS, COMFYUI = "ltx-core 1.0.0", "transformers", "diffusers 0.42.1", "ComfyUI 0.30.0"
LOCAL = Path(__file__).resolve().parents[2] / ".local"
TOLERANCE = 1e-5
# Where positions are shifted against each other: angles of up to 1024 radians are then rounded differently in float32.
SHIFTED = 1e-3

GEMMA = {
    "vocab_size": 60,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "model_type": "gemma3_text",
}
GEMMA_VARIANTS = {
    "12B's form": {},
    "another query scale": {"query_pre_attn_scalar": 40},
    "270M's form": {"num_key_value_heads": 1, "rope_scaling": None},
    "other frequencies": {"rope_theta": 3e4, "rope_local_base_freq": 500.0},
    "own layer types": {"layer_types": ["full_attention", "sliding_attention"] * 3 + ["sliding_attention"]},
    "another pattern": {"sliding_window_pattern": 3, "rms_norm_eps": 1e-2},
}
CONNECTORS = {
    "rope_type": "split",
    "frequencies_precision": "float64",
    "connector_positional_embedding_max_pos": [4096],
    "connector_num_attention_heads": 2,
    "connector_attention_head_dim": 16,
    "connector_num_layers": 2,
    "connector_apply_gated_attention": True,
    "audio_connector_num_attention_heads": 2,
    "audio_connector_attention_head_dim": 8,
}
CONNECTORS_20 = {"rope_type": "split", "frequencies_precision": "float64", "connector_num_attention_heads": 3} | {
    "connector_attention_head_dim": 16,
    "connector_positional_embedding_max_pos": [4096],
}


def our_gemma(reference: nn.Module, config: dict) -> GemmaModel:
    """Our model with all of a reference's language-model weights, strictly."""
    model = GemmaModel(GemmaParams.from_hf_config(config))
    state = reference.state_dict()
    model.load_state_dict({ours: state[theirs] for theirs, ours in gemma_key_map(state).items()}, strict=True)
    return model


def gemma_pair(rng, randomise, **changes):
    raw = GEMMA | changes
    reference = randomise(transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**raw)).eval(), rng)
    return our_gemma(reference, raw), reference


def draw_ids(rng, tokens: int) -> torch.Tensor:
    return torch.randint(3, 60, (1, tokens), generator=rng)


def left_padded(tensor: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, length, ...) with `tensor` at its end, and the mask (1, length) of real places."""
    padding = length - tensor.shape[1]
    mask = torch.ones(1, length, dtype=torch.int64)
    mask[:, :padding] = 0
    return torch.cat((tensor.new_zeros(1, padding, *tensor.shape[2:]), tensor), dim=1), mask


@pytest.mark.parametrize("variant", GEMMA_VARIANTS)
def test_gemma(parity, rng, randomise, variant):
    """30 tokens are more than the window of 8, so that sliding layers leave some out."""
    ours, reference = gemma_pair(rng, randomise, **GEMMA_VARIANTS[variant])
    ids = draw_ids(rng, 30)
    expected = reference(ids, output_hidden_states=True).hidden_states
    assert len(expected) == 8
    parity.check(f"Gemma-3 states, {variant}", HF, torch.stack(ours(ids)), torch.stack(expected), TOLERANCE)
    padded, mask = left_padded(ids, 47)
    expected = reference(padded, attention_mask=mask, output_hidden_states=True).hidden_states
    expected = torch.stack(expected)[:, :, -30:]
    states = torch.stack(ours(ids, first_position=17))
    parity.check(f"Gemma-3 states, {variant}, reference padded", HF, states, expected, TOLERANCE)


def test_gemma_padded_to_1024(parity, rng, randomise):
    ours, reference = gemma_pair(rng, randomise, sliding_window=1024)
    ids = draw_ids(rng, 12)
    padded, mask = left_padded(ids, 1024)
    expected = torch.stack(reference(padded, attention_mask=mask, output_hidden_states=True).hidden_states)
    expected = expected[:, :, -12:]
    states = torch.stack(ours(ids, first_position=1024 - 12))
    parity.check("Gemma-3 states, padded to 1024", HF, states, expected, TOLERANCE)
    states = torch.stack(ours(ids))
    parity.check("Gemma-3 states, padded to 1024, own positions", HF, states, expected, SHIFTED)
    longest = draw_ids(rng, 1024)
    expected = torch.stack(reference(longest, output_hidden_states=True).hidden_states)
    parity.check("Gemma-3 states, 1024 tokens", HF, torch.stack(ours(longest)), expected, TOLERANCE)


def test_gemma_in_bfloat16_is_no_less_exact_than_the_reference(rng, randomise):
    """Against float32 of the same (rounded) weights.  The reference rounds cosines and sines to bfloat16, we do not."""
    ours, reference = gemma_pair(rng, randomise, sliding_window=1024)
    ours.bfloat16(), reference.bfloat16()
    ids = draw_ids(rng, 300)
    our_states, their_states = ours(ids), reference(ids, output_hidden_states=True).hidden_states
    assert torch.equal(our_states[0], their_states[0])
    exact = torch.stack(ours.float()(ids))
    our_error, their_error = (
        (torch.stack(list(states)).float() - exact).square().mean().sqrt() for states in (our_states, their_states)
    )
    assert our_error <= their_error


@pytest.mark.parametrize("raw", [GEMMA | change for change in GEMMA_VARIANTS.values()], ids=GEMMA_VARIANTS.keys())
def test_configs_written_by_transformers_mean_the_same(raw):
    """transformers 5 writes other keys than the published files have."""
    written = json.loads(transformers.Gemma3TextConfig(**raw).to_json_string(use_diff=False))
    assert GemmaParams.from_hf_config(written) == GemmaParams.from_hf_config(raw)
    nested = json.loads(transformers.Gemma3Config(text_config=raw).to_json_string(use_diff=False))
    assert GemmaParams.from_hf_config(nested) == GemmaParams.from_hf_config(raw)


def extractor_pair(rng, randomise):
    params = FeatureExtractorParams(hidden_size=48, states=8, video_width=32, audio_width=16)
    ours = randomise(FeatureExtractor(params), rng)
    theirs = FeatureExtractorV2(nn.Linear(48 * 8, 32), 48, nn.Linear(48 * 8, 16))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def draw_states(rng, tokens: int, count: int = 8) -> list[torch.Tensor]:
    return [torch.randn((1, tokens, 48), generator=rng) * (1 + 3 * layer) for layer in range(count)]


def test_feature_extractor(parity, rng, randomise):
    ours, theirs = extractor_pair(rng, randomise)
    states = draw_states(rng, 9)
    padded = [left_padded(state, 20)[0] + 5 for state in states]  # what stands at padding must not matter
    for state, whole in zip(states, padded, strict=True):
        whole[:, -9:] = state
    mask = left_padded(states[0], 20)[1]
    for name, our_features, their_features in zip(("video", "audio"), ours(states), theirs(padded, mask), strict=True):
        parity.check(f"feature extractor 2.3, {name}", VENDOR, our_features, their_features[:, -9:], TOLERANCE)


def test_feature_extractor_v20(parity, rng, randomise):
    ours = randomise(FeatureExtractorV20(FeatureExtractorV20Params(48, 8)), rng)
    theirs = FeatureExtractorV1(nn.Linear(48 * 8, 48, bias=False), is_av=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    states = draw_states(rng, 9)
    padded = [left_padded(state, 20)[0] + 500 for state in states]
    for state, whole in zip(states, padded, strict=True):
        whole[:, -9:] = state
    mask = left_padded(states[0], 20)[1]
    for name, our_features, their_features in zip(("video", "audio"), ours(states), theirs(padded, mask), strict=True):
        parity.check(f"feature extractor 2.0, {name}", VENDOR, our_features, their_features[:, -9:], TOLERANCE)


@pytest.mark.parametrize("config", [CONNECTORS, CONNECTORS_20], ids=["2.3", "2.0"])
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_connector(parity, rng, randomise, config, modality):
    build = {"video": Embeddings1DConnectorConfigurator, "audio": AudioEmbeddings1DConnectorConfigurator}[modality]
    theirs = build.from_config({"transformer": config}).float().eval()
    ours = randomise(EmbeddingsConnector(ConnectorParams.from_config({"transformer": config}, modality)), rng)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    version = "2.3" if config is CONNECTORS else "2.0"
    for tokens in (1, 77, 300, 1024):
        features = torch.randn((1, tokens, ours.params.width), generator=rng)
        padded, mask = left_padded(features, 1024)
        expected, _ = theirs(padded, convert_to_additive_mask(mask, torch.float32))
        parity.check(f"{modality} connector {version}", VENDOR, ours(features), expected, TOLERANCE)


def test_connector_without_biases(parity, rng, randomise):
    """The vendor's published package knows this form not yet: there the biases are 0."""
    theirs = Embeddings1DConnectorConfigurator.from_config({"transformer": CONNECTORS}).float().eval()
    config = {"transformer": CONNECTORS | {"connector_ff_bias": False}}
    ours = randomise(EmbeddingsConnector(ConnectorParams.from_config(config, "video")), rng)
    biases = {name: torch.zeros_like(t) for name, t in theirs.state_dict().items() if ".ff." in name and "bias" in name}
    assert len(biases) == 4
    theirs.load_state_dict(ours.state_dict() | biases, strict=True)
    features = torch.randn((1, 77, 32), generator=rng)
    padded, mask = left_padded(features, 1024)
    expected, _ = theirs(padded, convert_to_additive_mask(mask, torch.float32))
    parity.check("video connector without biases", VENDOR, ours(features), expected, TOLERANCE)


def test_connector_with_a_float32_grid(parity, rng, randomise):
    """Without `frequencies_precision` in its config, a checkpoint's frequencies are those of a float32 grid."""
    config = {key: value for key, value in CONNECTORS.items() if key != "frequencies_precision"}
    theirs = Embeddings1DConnectorConfigurator.from_config({"transformer": config}).float().eval()
    ours = randomise(EmbeddingsConnector(ConnectorParams.from_config({"transformer": config}, "video")), rng)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    features = torch.randn((1, 1024, 32), generator=rng)
    expected, _ = theirs(features, convert_to_additive_mask(torch.ones(1, 1024), torch.float32))
    parity.check("video connector, float32 grid", VENDOR, ours(features), expected, TOLERANCE)


def test_text_to_contexts(parity, rng, randomise):
    """Prompt -> contexts: the vendor's tokenizer, padded Gemma, extractor, registers and connectors against ours."""
    text = GEMMA | {"vocab_size": 262208, "hidden_size": 32, "num_hidden_layers": 7, "sliding_window": 1024}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision | {"image_size": 28, "patch_size": 14})
    gemma = randomise(transformers.Gemma3ForConditionalGeneration(config).eval(), rng)
    their_encoder = GemmaTextEncoder(model=gemma, tokenizer=LTXVGemmaTokenizer(str(LOCAL / "tokenizer"), 1024))
    checkpoint = {"transformer": CONNECTORS}
    their_processor = EmbeddingsProcessor(
        feature_extractor=FeatureExtractorV2(nn.Linear(32 * 8, 32), 32, nn.Linear(32 * 8, 16)),
        video_connector=Embeddings1DConnectorConfigurator.from_config(checkpoint),
        audio_connector=AudioEmbeddings1DConnectorConfigurator.from_config(checkpoint),
    )
    randomise(their_processor.float().eval(), rng)

    tokenizer = GemmaTokenizer.from_folder(LOCAL / "tokenizer")
    gemma_params = GemmaParams.from_hf_config(config.to_dict())
    encoder = TextEncoder(gemma_params, FeatureExtractorParams(32, gemma_params.layers + 1, 32, 16))
    encoder.gemma = our_gemma(gemma, config.to_dict())
    encoder.feature_extractor.load_state_dict(their_processor.feature_extractor.state_dict(), strict=True)
    connectors = []
    for modality in ("video", "audio"):
        connector = EmbeddingsConnector(ConnectorParams.from_config(checkpoint, modality))
        connector.load_state_dict(getattr(their_processor, f"{modality}_connector").state_dict(), strict=True)
        connectors.append(connector)

    def our_contexts(prompt):
        features = encoder.features(torch.tensor([tokenizer.encode(prompt)]))
        return [connector(x) for connector, x in zip(connectors, features, strict=True)]

    prompts = {
        "a short prompt": "  A fox jumps over a stream; birds sing, \u201cwater\u201d splashes. \n",
        "an empty prompt": "",
        "a prompt beyond 1024 tokens": "the camera pans slowly to the left and " * 150,
    }
    for what, prompt in prompts.items():
        expected = their_processor.process_hidden_states(*their_encoder.encode(prompt))
        assert expected.attention_mask.all()
        video, audio = our_contexts(prompt)
        parity.check(f"video context of {what}", VENDOR, video, expected.video_encoding, TOLERANCE)
        parity.check(f"audio context of {what}", VENDOR, audio, expected.audio_encoding, TOLERANCE)


def diffusers_name(name: str) -> str:
    """Of a connector's tensor."""
    for ours, theirs in (
        ("transformer_1d_blocks", "transformer_blocks"),
        ("q_norm", "norm_q"),
        ("k_norm", "norm_k"),
    ):
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize("version", ["2.3", "2.0"])
def test_diffusers(parity, rng, randomise, version):
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    new = version == "2.3"
    config = {"transformer": CONNECTORS if new else CONNECTORS_20}
    params = {name: ConnectorParams.from_config(config, name) for name in ("video", "audio")}
    connectors = {name: randomise(EmbeddingsConnector(p), rng) for name, p in params.items()}
    if new:
        extractor = randomise(FeatureExtractor(FeatureExtractorParams(48, 8, 32, 16)), rng)
    else:
        extractor = randomise(FeatureExtractorV20(FeatureExtractorV20Params(48, 8)), rng)
    theirs = LTX2TextConnectors(
        caption_channels=48,
        text_proj_in_factor=8,
        rope_type="split",
        per_modality_projections=new,
        video_hidden_dim=32,
        audio_hidden_dim=16,
        proj_bias=new,
        **{f"{name}_connector_num_attention_heads": p.heads for name, p in params.items()},
        **{f"{name}_connector_attention_head_dim": p.head_dim for name, p in params.items()},
        **{f"{name}_gated_attn": p.gated for name, p in params.items()},
    ).eval()
    state = {
        diffusers_name(f"{name}_connector.{key}"): tensor
        for name, connector in connectors.items()
        for key, tensor in connector.state_dict().items()
    }
    for key, tensor in extractor.state_dict().items():
        state[key.replace("aggregate_embed", "text_proj_in")] = tensor
    theirs.load_state_dict(state, strict=True)
    states = draw_states(rng, 33)
    padded, mask = left_padded(torch.stack(states, dim=-1), 1024)
    *expected, _ = theirs(padded, mask)
    for name, features, reference in zip(connectors, extractor(states), expected, strict=True):
        context = connectors[name](features)
        parity.check(f"states to {name} context {version}", DIFFUSERS, context, reference, TOLERANCE)


# ComfyUI sets process-wide state on import, so it runs in a process of its own.
COMFYUI_SCRIPT = """
import json, sys
import torch
folder, comfyui = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import comfy.ops
from comfy.ldm.lightricks.embeddings_connector import Embeddings1DConnector
from comfy.text_encoders.llama import Gemma3_12B_Config, Llama2_
from comfy.text_encoders.lt import DualLinearProjection
from safetensors.torch import load_file, save_file
ops = {"dtype": torch.float32, "device": "cpu"}
weights = load_file(f"{folder}/weights.safetensors")
inputs = load_file(f"{folder}/inputs.safetensors")
def load(module, prefix):
    state = {k[len(prefix) + 1:]: v for k, v in weights.items() if k.startswith(prefix + ".")}
    module.load_state_dict(state, strict=True)
    return module.eval()
gemma = json.load(open(f"{folder}/gemma.json"))
config = Gemma3_12B_Config(**{k: gemma[k] for k in ("vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads")})
config.head_dim = gemma["head_dim"]
with torch.no_grad():
    model = load(Llama2_(config, ops=comfy.ops.disable_weight_init, **ops), "gemma")
    states = model(inputs["ids"], intermediate_output="all", final_layer_norm_intermediate=False,
        dtype=torch.float32)[1]
    projection = DualLinearProjection(48 * 8, 32, 16, operations=comfy.ops.disable_weight_init, **ops)
    features = load(projection, "projection")(inputs["states"])
    outputs = {"states": states, "features": features}
    for name, head_dim in (("video", 16), ("audio", 8)):
        connector = Embeddings1DConnector(attention_head_dim=head_dim, num_attention_heads=2, split_rope=True,
            double_precision_rope=True, apply_gated_attention=True, operations=comfy.ops.disable_weight_init, **ops)
        for block in connector.transformer_1d_blocks:
            # ComfyUI has 1e-5 here, the vendor and diffusers 1e-6.
            block.attn1.q_norm.eps = block.attn1.k_norm.eps = 1e-6
        outputs[name] = load(connector, name)(inputs[f"{name} features"])[0]
save_file({k: v.contiguous() for k, v in outputs.items()}, f"{folder}/outputs.safetensors")
"""


def test_comfyui(parity, rng, randomise, tmp_path):
    """The conditioning of ComfyUI's own text encoder is our projection's output, both modalities side by side."""
    raw = GEMMA | {"sliding_window": 1024}
    modules = {
        "gemma": GemmaModel(GemmaParams.from_hf_config(raw)),
        "projection": FeatureExtractor(FeatureExtractorParams(48, 8, 32, 16)),
        "video": EmbeddingsConnector(ConnectorParams.from_config({"transformer": CONNECTORS}, "video")),
        "audio": EmbeddingsConnector(ConnectorParams.from_config({"transformer": CONNECTORS}, "audio")),
    }
    state = {f"{n}.{k}": v for n, m in modules.items() for k, v in randomise(m, rng).state_dict().items()}
    inputs = {"ids": draw_ids(rng, 50), "states": torch.stack(draw_states(rng, 50), dim=1)}
    for name, width in (("video", 32), ("audio", 16)):
        inputs[f"{name} features"] = torch.randn((1, 50, width), generator=rng)
    save_file(state, tmp_path / "weights.safetensors")
    save_file(inputs, tmp_path / "inputs.safetensors")
    (tmp_path / "gemma.json").write_text(json.dumps(raw))
    run = [sys.executable, "-c", COMFYUI_SCRIPT, str(tmp_path), str(LOCAL / "comfyui-0.30.0")]
    result = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    reference = load_file(tmp_path / "outputs.safetensors")

    ours = torch.stack(modules["gemma"](inputs["ids"]), dim=1)
    parity.check("Gemma-3 states", COMFYUI, ours, reference["states"], TOLERANCE)
    features = torch.cat(modules["projection"](inputs["states"].unbind(1)), dim=-1)
    parity.check("feature extractor 2.3", COMFYUI, features, reference["features"], TOLERANCE)
    for name in ("video", "audio"):
        context = modules[name](inputs[f"{name} features"])
        parity.check(f"{name} connector 2.3", COMFYUI, context, reference[name], TOLERANCE)
