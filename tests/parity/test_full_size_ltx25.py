"""LTX-2.5's parts at full size, on the meta device: the same tensors as the reference packages have.

The diffusion decoder and the duration head stand in their own tests.
"""

import sys
from pathlib import Path

import torch
import transformers

from ltx_duo.ltx_core.text.gemma4 import Gemma4Model
from ltx_duo.ltx_core.text.gemma4_params import Gemma4Params
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.tests.parity.test_transformer_diffusers import OFFICIAL, diffusers_model

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from diffusers_peer import diffusers_name  # noqa: E402

# Google's 12B, as its config says.
GEMMA_4_12B = {
    "model_type": "gemma4_unified_text",
    "vocab_size": 262144,
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_global_key_value_heads": 1,
    "head_dim": 256,
    "global_head_dim": 512,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
}


def shapes(module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_the_transformer(official_tensors):
    """LTX-2.3's list without the biases of the video's feed-forward, with the mark of single frames."""
    options = {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
    params = TransformerParams.from_config({"transformer": OFFICIAL["transformer"] | options})
    with torch.device("meta"):
        ours = shapes(AVTransformer(params))
        theirs = shapes(diffusers_model(params))
    expected = official_tensors("transformer")
    biases = {f"transformer_blocks.{i}.ff.net.{layer}.bias" for i in range(48) for layer in ("0.proj", "2")}
    assert biases < expected.keys()
    expected = {name: shape for name, shape in expected.items() if name not in biases}
    assert ours == expected | {"keyframes_abs_pos_embedding": (1, 4096)}
    assert len(ours) == 4091
    assert {diffusers_name(name): shape for name, shape in ours.items()} == theirs


def test_the_text_encoder():
    params = Gemma4Params.from_hf_config(GEMMA_4_12B)
    with torch.device("meta"):
        ours = shapes(Gemma4Model(params))
        theirs = shapes(transformers.Gemma4UnifiedTextModel(transformers.Gemma4UnifiedTextConfig(**GEMMA_4_12B)))
    assert ours == theirs
    assert Gemma4Params.from_shapes(ours) == params
    assert sum(params.sliding) == 40 and params.hidden_size * (params.layers + 1) == 188160  # what the projection takes
