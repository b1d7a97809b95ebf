"""A small model whose text encoder has the form of gemma_3_12B_it_fp4_mixed, for ComfyUI's own loaders."""

import json
from pathlib import Path

import torch
from comfy_kitchen.tensor import QuantizedTensor
from safetensors.torch import load_file, save_file
from torch import Tensor

from ltx_duo.scripts.demo.server import PACK, TOKENIZER
from ltx_duo.scripts.small_model_parts import write
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_CONFIG
from ltx_duo.tests.sentencepiece_file import sentencepiece_file

NODE = PACK / "tests" / "comfyui_nodes" / "small_gemma.py"

# What ComfyUI knows a Gemma-3 12B by: 48 layers; and heads so wide that it divides by the root of
# query_pre_attn_scalar, for which it takes their width.
GEMMA = GEMMA_CONFIG | {"text_config": GEMMA_CONFIG["text_config"] | {"num_hidden_layers": 48, "head_dim": 256}}
FP8, NVFP4 = ("float8_e4m3fn", "TensorCoreFP8Layout"), ("nvfp4", "TensorCoreNVFP4Layout")


def write_core_model(folder: Path) -> Path:
    """As `models.write_small_model`, with a Gemma that ComfyUI's own code can build when NODE has made it small."""
    write.write_small_model(folder, TOKENIZER, gemma=GEMMA)
    path = folder / write.GEMMA_FILE
    tensors = load_file(path)
    del tensors["tokenizer_json"]
    quantised = {}
    for name, tensor in tensors.items():
        quantised |= _stored(name, tensor)
    tokenizer = sentencepiece_file(TOKENIZER)
    save_file(quantised | {"spiece_model": torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)}, path)
    return folder


def _stored(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Feed-forwards in nvfp4, half of the attention's matrices in fp8, the rest as it is, but for norms.

    ComfyUI adds one to a norm's weight in bfloat16, which the reference does in float32: here the sum is one that
    bfloat16 holds.
    """
    if name.endswith("norm.weight"):
        return {name: (1 + weight).bfloat16() - 1}
    if ".mlp." in name:
        format, layout = NVFP4
    elif name.endswith(("q_proj.weight", "o_proj.weight")):
        format, layout = FP8
    else:
        return {name: weight}
    mark = torch.tensor(list(json.dumps({"format": format}).encode()), dtype=torch.uint8)
    stored = QuantizedTensor.from_float(weight.float(), layout).state_dict(name)
    return {key: tensor.contiguous() for key, tensor in stored.items()} | {
        f"{name.removesuffix('.weight')}.comfy_quant": mark
    }
