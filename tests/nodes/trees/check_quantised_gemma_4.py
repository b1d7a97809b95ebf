"""LTX-2.5's text encoder in fewer bits: as core's templates name it, and in the other forms that people have."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint
from ltx_duo.ltx_core.inspect import inspect_file
from ltx_duo.ltx_core.loading import load_text_encoder
from ltx_duo.nodes.comfyui import packed
from ltx_duo.scripts.small_model_parts.write_split import split_files
from ltx_duo.tests import gguf_samples as samples
from ltx_duo.tests.nodes.trees.quantised_forms import FORMS, FP8, Form, Tensors, json_tensor, needs_layers

TEXT = split_files("ltx-2.5-small").text_encoder.name
# A scale that bfloat16 holds, in which float8 alone is expanded.
FP8_ALONE = replace(FP8, how={"scale": 2.0**-6})
LAYER = re.compile(r"model\.layers\.\d+\.(?:self_attn|mlp)\.(\w)\w*_proj$")


def int8(name: str) -> Form | None:
    """gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot: every linear layer, embeddings and projection in bfloat16."""
    return FORMS["int8 convrot"]


def fp8(name: str) -> Form | None:
    return FP8_ALONE


def fp4_mixed(name: str) -> Form | None:
    """Most in nvfp4, queries and outputs in fp8, the values of the first layer as they are."""
    if name.startswith("model.layers.0.self_attn.v"):
        return None
    return FP8 if LAYER.match(name)[1] in "qo" else FORMS["nvfp4"]


MIXES = {"int8 convrot": int8, "fp8": fp8, "fp4 mixed": fp4_mixed}


@needs_layers
@pytest.mark.parametrize("mix", MIXES)
def test_text(mix, run, rewritten, models, folder, measured):
    """The node's text, and the library's states, are those of the weights that the layers stand for."""
    plain: Tensors = {}
    forms: dict[str, Form | None] = {}

    def quantise(tensors: Tensors, metadata) -> None:
        for name, weight in list(tensors.items()):
            layer = name.removesuffix(".weight")
            plain[name] = weight
            if not LAYER.match(layer):
                continue
            forms[layer] = MIXES[mix](layer)
            if (form := forms[layer]) is None:
                continue
            del tensors[name]
            own, plain[name] = form.store(layer, weight)
            tensors |= own | {f"{layer}.comfy_quant": json_tensor({"format": form.format, **form.mark})}

    def expand(tensors: Tensors, metadata) -> None:
        tensors.clear()
        tensors.update(plain)

    def text(name: str) -> tuple:
        handle = run("TextEncoderLoader", text_encoder=name, projection=name, device="default")
        features = run("TextEncode", text_encoder=handle, prompt="a lake at dawn", negative_prompt="noise")
        return handle.component().load(), features

    def states(file) -> torch.Tensor:
        return torch.stack(
            load_text_encoder(Checkpoint.open(file), Checkpoint.open(file), dtype=torch.float32).gemma(ids)
        )

    ids = torch.randint(5, 1000, (1, 40))
    name = rewritten("text_encoders", TEXT, quantise)
    file = folder("text_encoders") / name
    told, _ = inspect_file(file)
    assert not told.problems and sum(told.quantization.values()) == sum(map(bool, forms.values()))
    module, features = text(name)
    # float8 alone is expanded; beside packed layers it stays as they do.
    chosen = [form for form in forms.values() if form is not None]
    kept = chosen if any(form.format != FP8.format for form in chosen) else []
    assert len(packed.packed_layers(module)) == len(kept)
    in_library = states(file)

    rewritten("text_encoders", TEXT, expand)
    _, expanded = text(name)
    for sign, one, other in zip(("positive", "negative"), features, expanded, strict=True):
        measured(f"{mix} Gemma-4's text, {sign}", "its weights expanded", one[0][0], other[0][0], 1e-5)
    measured(f"{mix} Gemma-4's states in the library", "its weights expanded", in_library, states(file), 1e-5)
    _, plainly = text(TEXT)
    off = (features[0][0][0] - plainly[0][0][0]).abs().max() / plainly[0][0][0].abs().max()
    assert off > 1e-3, "the case is empty"


def test_gguf(run, models, folder, measured):
    """With its projection in one file; the tokenizer lies beside it."""
    stored, plain = {}, {}
    for name, tensor in load_file(models / "text_encoders" / TEXT).items():
        if name == "tokenizer_json":
            plain[name] = tensor
            continue
        kind, value = samples.kind_for(name, tensor, "Q8_0"), tensor.float()
        within = name.removeprefix("model.")
        stored[name if within == name else samples.gemma_name(within)] = (kind, value)
        plain[name] = samples.expanded(kind, value)
    where = folder("text_encoders")
    samples.write(where / "gemma4-ltx-2.5.gguf", "gemma4", stored)
    save_file(plain, where / "gemma4-ltx-2.5-plain.safetensors")
    (where / "tokenizer.json").symlink_to(models / "text_encoders" / "gemma-3-small" / "tokenizer.json")
    texts = []
    for name in ("gemma4-ltx-2.5.gguf", "gemma4-ltx-2.5-plain.safetensors"):
        handle = run("TextEncoderLoader", text_encoder=name, projection=name, device="default")
        texts.append(run("TextEncode", text_encoder=handle, prompt="a lake at dawn", negative_prompt="noise"))
    for sign, one, other in zip(("positive", "negative"), *texts, strict=True):
        measured(f"Gemma-4's text from GGUF, {sign}", "plain file", one[0][0], other[0][0], 2e-5)
