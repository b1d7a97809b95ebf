"""Text encoders and text projections in the forms that are published, and what is taken for one.

Behind the rows: ComfyUI-LTXVideo#465, #489, Lightricks/LTX-2#214.
"""

import json
import shutil

import torch

from ltx_duo.tests.nodes.trees.file_kinds import (
    CONNECTORS,
    GEMMA,
    GEMMA_FOLDER,
    OTHER,
    PROJECTION,
    FileKind,
    Inputs,
    Models,
    names,
    nothing,
    only,
    parts,
    renamed,
)

# A tokenizer of a few words: Gemma's own takes a second to read.
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "lake", "at", "dawn", ",", "ducks", "call"]
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<unk>"},
}


def _gemma(prefix: str = "model.", extra=lambda models: {}, tokenizer: str | None = None, metadata=None):
    """Gemma in one file, its names below `prefix`, with a tokenizer of a few words and something more."""

    def write(models: Models) -> Inputs:
        tensors = renamed(parts(models.small(GEMMA)[0], "model."), "model.", prefix)
        if tokenizer != "":
            text = (tokenizer or json.dumps(TOKENIZER)).encode()
            tensors["tokenizer_json"] = torch.tensor(list(text), dtype=torch.uint8)
        tensors |= extra(models)
        return {"text_encoder": models.save("text_encoders", "gemma.safetensors", tensors, metadata or {})}

    return write


def _gemma_and_projection(models: Models) -> Inputs:
    written = _gemma(extra=lambda models: only(models, PROJECTION)[0])(models)
    return {**written, "projection": written["text_encoder"]}


def _projection(prefix: str = PROJECTION, drop: str = "", more: tuple[str, ...] = ()):
    """The text projection in a file without metadata."""

    def write(models: Models) -> Inputs:
        tensors = renamed(only(models, PROJECTION)[0], PROJECTION, prefix)
        tensors = {name: tensor for name, tensor in tensors.items() if not (drop and name.endswith(drop))}
        tensors |= only(models, *more)[0] if more else {}
        return {"projection": models.save("text_encoders", OTHER, tensors)}

    return write


def _gemma_of_size(hidden: int, layers: int, heads: int, head_dim: int = 256):
    """The header of a Gemma-3 of another size in bfloat16, with a tokenizer."""

    def write(models: Models) -> Inputs:
        shapes = {"model.embed_tokens.weight": (262208, hidden), "model.norm.weight": (hidden,)}
        for i in range(layers):
            layer = f"model.layers.{i}."
            norms = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm")  # fmt: skip
            shapes |= {f"{layer}{norm}.weight": (hidden,) for norm in norms}
            shapes |= {f"{layer}self_attn.{name}_norm.weight": (head_dim,) for name in ("q", "k")}
            shapes |= {f"{layer}self_attn.q_proj.weight": (heads * head_dim, hidden)}
            shapes |= {f"{layer}self_attn.{name}_proj.weight": (heads // 2 * head_dim, hidden) for name in "kv"}
            shapes |= {f"{layer}self_attn.o_proj.weight": (hidden, heads * head_dim)}
            shapes |= {f"{layer}mlp.{name}_proj.weight": (4 * hidden, hidden) for name in ("gate", "up")}
            shapes |= {f"{layer}mlp.down_proj.weight": (hidden, 4 * hidden)}
        folder = "gemma-other"
        models.header("text_encoders", f"{folder}/model.safetensors", shapes)
        config = {"model_type": "gemma3_text", "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": head_dim,
                  "num_attention_heads": heads, "num_key_value_heads": heads // 2, "intermediate_size": 4 * hidden,
                  "vocab_size": 262208}  # fmt: skip
        models.text("text_encoders", f"{folder}/config.json", json.dumps(config))
        models.text("text_encoders", f"{folder}/tokenizer.json", json.dumps(TOKENIZER))
        return {"text_encoder": folder}

    return write


def _folder_without_a_shard(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "shards"
    shutil.copytree(models.gemma_folder, target)
    (target / "model.safetensors").rename(target / "model-00001-of-00002.safetensors")
    return {"text_encoder": "shards"}


def _diffusers_folder(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "LTX-2"
    shutil.copytree(models.gemma_folder, target / "text_encoder")
    (target / "model_index.json").write_text('{"_class_name": "LTX2Pipeline"}')
    return {"text_encoder": "LTX-2"}


def _windows_folder(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "google" / "gemma"
    shutil.copytree(models.gemma_folder, target)
    (target / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return {"text_encoder": "google\\gemma"}


ROWS = [
    FileKind("official checkpoint as projection", "TextEncoderLoader", nothing),
    FileKind("text encoder's folder", "TextEncoderLoader", lambda _: {"text_encoder": GEMMA_FOLDER}),
    FileKind("text encoder's folder by a name from Windows", "TextEncoderLoader", _windows_folder, plain=_gemma()),
    FileKind("projection of 4 tensors without config", "TextEncoderLoader", _projection()),
    FileKind("projection without a prefix", "TextEncoderLoader", _projection("")),
    FileKind("projection below text_encoders.", "TextEncoderLoader", _projection("text_encoders." + PROJECTION)),
    FileKind("projection with the connectors", "TextEncoderLoader", _projection(more=CONNECTORS)),
    FileKind("Gemma below language_model.model.", "TextEncoderLoader", _gemma("language_model.model."), plain=_gemma()),
    FileKind("Gemma below model.language_model.", "TextEncoderLoader", _gemma("model.language_model."), plain=_gemma()),
    FileKind("Gemma without a prefix", "TextEncoderLoader", _gemma(""), plain=_gemma()),
    FileKind("Gemma and projection in one file", "TextEncoderLoader", _gemma_and_projection, plain=_gemma()),
    FileKind(
        "Gemma with the connectors too",
        "TextEncoderLoader",
        _gemma(extra=lambda models: only(models, *CONNECTORS, PROJECTION)[0]),
        plain=_gemma(),
    ),
    FileKind(
        "projection without biases",
        "TextEncoderLoader",
        _projection(drop=".bias"),
        ("projection", "has no video_aggregate_embed.bias"),
    ),
    FileKind(
        "projection of LTX-2.0 for no Gemma",
        "TextEncoderLoader",
        names("text_encoders", "projection", PROJECTION + "aggregate_embed.weight"),
        ("text_encoder", "takes 4 values a token, but the text encoder in .* gives 224"),
        together=True,
    ),
    FileKind(
        "Gemma-4",
        "TextEncoderLoader",
        _gemma(extra=lambda _: {f"model.layers.{i}.layer_scalar": torch.ones(1) for i in range(6)}),
        ("text_encoder", "is of LTX-2.5, but .* is of LTX-2.3; files of one generation belong together"),
        together=True,
    ),
    FileKind(
        "LTX-2.5's text encoder by its metadata",
        "TextEncoderLoader",
        _gemma(metadata={"gemma_source_checkpoint": json.dumps({"ltx_version": "2.5.0"})}),
        ("text_encoder", "is of LTX-2.5, but .* is of LTX-2.3"),
        together=True,
    ),
    FileKind(
        "Gemma-3 4B",
        "TextEncoderLoader",
        _gemma_of_size(2560, 34, 8),
        ("text_encoder", "but Gemma-3 4B in .* gives 89,600"),
        together=True,
    ),
    FileKind(
        "Gemma-3 27B",
        "TextEncoderLoader",
        _gemma_of_size(5376, 62, 32, 128),
        ("text_encoder", "but Gemma-3 27B in .* gives"),
        together=True,
    ),
    FileKind(
        "T5",
        "TextEncoderLoader",
        names("text_encoders", "text_encoder", "encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"),
        ("text_encoder", "is T5, the text encoder of LTX-Video before LTX-2"),
    ),
    FileKind(
        "another language model",
        "TextEncoderLoader",
        names("text_encoders", "text_encoder", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"),
        ("text_encoder", "is another language model than Gemma-3"),
    ),
    FileKind(
        "vision part alone",
        "TextEncoderLoader",
        names("text_encoders", "text_encoder", "vision_tower.vision_model.embeddings.patch_embedding.weight"),
        ("text_encoder", "is the vision part of a language model alone"),
    ),
    FileKind(
        "whole folder of diffusers",
        "TextEncoderLoader",
        _diffusers_folder,
        ("text_encoder", "is a whole model in the layout of diffusers"),
    ),
    FileKind(
        "GPTQ",
        "TextEncoderLoader",
        _gemma(
            extra=lambda _: {
                f"model.layers.0.mlp.up_proj.{name}": torch.ones(4, dtype=torch.int32)
                for name in ("qweight", "qzeros", "g_idx")
            }
        ),
        ("text_encoder", "is quantised by GPTQ"),
    ),
    FileKind(
        "AWQ",
        "TextEncoderLoader",
        _gemma(
            extra=lambda _: {
                f"model.layers.0.mlp.up_proj.{name}": torch.ones(4, dtype=torch.int32) for name in ("qweight", "qzeros")
            }
        ),
        ("text_encoder", "is quantised by AWQ or GPTQ"),
    ),
    FileKind(
        "folder that lacks a shard",
        "TextEncoderLoader",
        _folder_without_a_shard,
        ("text_encoder", "lacks model-00002-of-00002.safetensors"),
    ),
    FileKind(
        "Gemma without a tokenizer",
        "TextEncoderLoader",
        _gemma(tokenizer=""),
        ("text_encoder", "has no tokenizer"),
    ),
    FileKind(
        "tokenizer that is none",
        "TextEncoderLoader",
        _gemma(tokenizer='{"version": "1.0"}'),
        ("text_encoder", "tokenizer.json cannot be read"),
    ),
]
