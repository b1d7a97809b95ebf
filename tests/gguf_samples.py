"""GGUF files for tests, written by the `gguf` package as converters write them, and blocks of random bytes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES

# Where in a block the float16 scales stand.
HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "IQ4_XS": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip
# Smallest and largest float16, subnormal ones, both zeros.
EXTREMES = (0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0)

# Hugging Face's names in a layer of Gemma, and llama.cpp's.
GEMMA_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def random_blocks(
    name: str, rows: int, blocks: int, rng: torch.Generator, exponents: tuple[float, float] = (-24, 12)
) -> Tensor:
    """uint8 (rows, bytes): any bytes, and scales of every finite size, or of 2 to a power in `exponents`."""
    kind = BLOCK_TYPES[name]
    data = torch.randint(0, 256, (rows, blocks, kind.bytes), dtype=torch.uint8, generator=rng)
    low, high = exponents
    for place in HALVES[name]:
        powers = torch.rand(rows, blocks, 1, generator=rng) * (high - low) + low
        scales = (2**powers * (torch.randint(0, 2, powers.shape, generator=rng) * 2 - 1)).half()
        if high > 0:
            count = min(len(EXTREMES), scales.numel())
            scales.view(-1)[:count] = torch.tensor(EXTREMES[:count]).half()
        data[:, :, place : place + 2] = scales.view(torch.uint8)
    return data.view(rows, -1)


def write(
    path: Path,
    architecture: str,
    tensors: Mapping[str, tuple[str, Tensor]],
    metadata: Mapping[str, str] | None = None,
    vocabulary: tuple | None = None,
) -> Path:
    """Writes (kind, numbers) or (kind, uint8 blocks) by name; `vocabulary` is tokens, scores, kinds."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    for key, text in (metadata or {}).items():
        writer.add_string(key, text)
    if vocabulary is not None:
        tokens, scores, kinds = vocabulary
        writer.add_tokenizer_model("llama")
        writer.add_token_list(list(tokens))
        writer.add_token_scores(list(scores))
        writer.add_token_types(list(kinds))
    for name, (kind, tensor) in tensors.items():
        number = gguf.GGMLQuantizationType[kind]
        values = tensor.numpy() if tensor.dtype == torch.uint8 else gguf.quantize(tensor.float().numpy(), number)
        writer.add_tensor(name, values, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def expanded(kind: str, tensor: Tensor) -> Tensor:
    """The numbers that `write` leaves of a tensor, by the package's own expansion."""
    import gguf

    number = gguf.GGMLQuantizationType[kind]
    values = tensor.numpy() if tensor.dtype == torch.uint8 else gguf.quantize(tensor.float().numpy(), number)
    return torch.from_numpy(np.array(gguf.dequantize(values, number), dtype=np.float32))


def kind_for(name: str, tensor: Tensor, kind: str) -> str:
    """What a converter stores a tensor as: matrices in `kind` where their rows have whole blocks."""
    fits = tensor.ndim == 2 and tensor.shape[1] % BLOCK_TYPES[kind].size == 0 and name.endswith(".weight")
    return kind if fits else "F32"


def gemma_name(name: str) -> str:
    """llama.cpp's name of one of Hugging Face's, without its prefix."""
    outside = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    if name in outside:
        return outside[name]
    _, layer, rest = name.split(".", 2)
    if rest == "layer_scalar":
        return f"blk.{layer}.layer_output_scale.weight"
    return f"blk.{layer}.{GEMMA_NAMES[rest.removesuffix('.weight')]}.weight"


def sentencepiece_vocabulary(tokenizer: Mapping) -> tuple[list[str], list[float], list[int]]:
    """What llama.cpp's converter makes of Gemma's tokenizer, given as tokenizer.json has it."""
    ids = tokenizer["model"]["vocab"]
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    rank: dict[str, int] = {}
    for left, right in tokenizer["model"]["merges"]:
        if left + right not in added:
            rank.setdefault(left + right, len(rank))
    tokens, scores, kinds = [], [], []
    for text in sorted(ids, key=ids.get):
        if text in added:
            control = added[text]["special"] or text.startswith("<unused")
            kinds.append(3 if control else 4)
            scores.append(-1000.0)
            tokens.append(text if control else text.replace("\u2581", " "))
        else:
            kinds.append(6 if text.startswith("<0x") and len(text) == 6 else 1)
            scores.append(float(-rank.get(text, len(rank))))
            tokens.append(text)
    return tokens, scores, kinds
