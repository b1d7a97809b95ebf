"""Weights that set-up reads from a GGUF file, against those that transformers reads from it."""

import gguf
import numpy as np
import pytest
import torch
import transformers

from ltx_duo.scripts.gemma_from_gguf import read_gguf

HIDDEN, INNER, LAYERS, VOCABULARY = 256, 512, 2, 40
KINDS = {
    "attn_q": "Q5_0",
    "attn_k": "Q5_0",
    "attn_v": "Q8_0",
    "attn_output": "Q4_K",
    "ffn_gate": "Q5_0",
    "ffn_up": "Q5_0",
    "ffn_down": "Q6_K",
}


def random_bytes(random: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """Quantised values (rows, bytes) in which any bytes may stand but for the scales, which are finite halves."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    scales = {"Q8_0": (0,), "Q5_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,)}[kind.name]
    for place in scales:
        half = random.uniform(0.001, 0.02, (*data.shape[:2], 1)).astype(np.float16)
        data[:, :, place : place + 2] = half.view(np.uint8)
    return data.reshape(rows, -1)


@pytest.fixture
def gguf_file(tmp_path):
    """A small Gemma-3 in the kinds of blocks that the published file has."""
    random = np.random.default_rng()
    writer = gguf.GGUFWriter(tmp_path / "gemma.gguf", "gemma3")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(HIDDEN)
    writer.add_value_length(HIDDEN)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_token_list([f"token {number}" for number in range(VOCABULARY)])
    writer.add_token_scores([0.5] * VOCABULARY)

    def add(name: str, rows: int, columns: int, kind: str):
        kind = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(f"{name}.weight", random_bytes(random, rows, columns, kind), raw_dtype=kind)

    def add_norm(name: str):
        writer.add_tensor(f"{name}.weight", random.standard_normal(HIDDEN, dtype=np.float32))

    add("token_embd", VOCABULARY, HIDDEN, "Q8_0")
    add_norm("output_norm")
    for layer in range(LAYERS):
        for name, kind in KINDS.items():
            rows = INNER if name in ("ffn_gate", "ffn_up") else HIDDEN
            add(f"blk.{layer}.{name}", rows, INNER if name == "ffn_down" else HIDDEN, kind)
        for name in ("attn_norm", "attn_q_norm", "attn_k_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            add_norm(f"blk.{layer}.{name}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "gemma.gguf"


def test_same_weights_as_transformers_reads(gguf_file):
    model = transformers.Gemma3ForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    expected = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    state = read_gguf(gguf_file)
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name
