"""Model files that open but cannot be used: refused on the node that owns them, before any weight is loaded."""

import json
from collections.abc import Callable

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.scripts.demo import models
from ltx_duo.scripts.demo.client import Client, ExecutionFailed, PromptRejected, set_inputs

BLOCK = "model.diffusion_model.transformer_blocks.0."
LOADERS = {f"LTXDuo{what}Loader" for what in ("Model", "Lora", "VAE", "TextEncoder", "Upsampler")}

Change = Callable[[dict, dict], None]


def without(*prefixes: str) -> Change:
    def change(tensors, _):
        gone = [name for name in tensors if name.startswith(prefixes)]
        assert gone
        for name in gone:
            del tensors[name]

    return change


def marked(version: str) -> Change:
    return lambda _, metadata: metadata.update(model_version=version)


def configured(**changes) -> Change:
    def change(_, metadata):
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | changes)

    return change


def unknown_key(tensors, _):
    tensors[BLOCK + "attn9.to_q.weight"] = torch.zeros(2, 2)


def other_width(tensors, _):
    for name, tensor in tensors.items():
        tensors[name] = torch.zeros(tensor.shape[0] + 8, tensor.shape[1]) if "lora_B" in name else tensor


def wide_projection(tensors, _):
    """As for Gemma-3 270M: 19 states of 640."""
    for modality in ("video", "audio"):
        name = f"text_embedding_projection.{modality}_aggregate_embed.weight"
        tensors[name] = torch.zeros(tensors[name].shape[0], 19 * 640)


def nan_in(name: str) -> Change:
    def change(tensors, _):
        tensors[name].view(-1)[-1] = float("nan")

    return change


@pytest.fixture
def refusal(client: Client, server, small_model, prompt) -> Callable:
    """Runs the workflow with a changed copy of a file in a loader's input; what the server says of that loader."""

    def run(node_type: str, slot: str, what: str, change: Change) -> tuple[str, bool]:
        source = small_model[what]
        source = source / "model.safetensors" if source.is_dir() else source
        with safe_open(source, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(source)
        change(tensors, metadata)
        folder = next(file.folder for file in models.MODEL_FILES if file.what == what)
        save_file(tensors, server.base / "models" / folder / "bad.safetensors", metadata)
        set_inputs(prompt, node_type, **{slot: "bad.safetensors"})
        set_inputs(prompt, "LTXDuoTextEncode", prompt=f"{what} {change}")  # nothing but loaders comes from the cache
        started = []
        with pytest.raises((PromptRejected, ExecutionFailed)) as refused:
            client.run(prompt, lambda node, _: started.append(prompt[node]["class_type"]))
        error = refused.value
        queued = isinstance(error, ExecutionFailed)
        nodes = [error.node_type] if queued else [prompt[node]["class_type"] for node in error.node_errors]
        assert nodes == [node_type], str(error)
        assert set(started) <= LOADERS
        assert "bad.safetensors" in str(error)
        return str(error), queued

    return run


BY_HEADER = {
    "model that calls itself 2.0": (
        "LTXDuoModelLoader",
        "checkpoint",
        "checkpoint",
        marked("2.0.0"),
        ("LTX-2.0", "LTX-2.3"),
    ),
    "model of 2.5": ("LTXDuoModelLoader", "checkpoint", "checkpoint", marked("2.5.1"), ("LTX-2.5", "LTX-2.3")),
    "VAE of 2.5": ("LTXDuoVAELoader", "checkpoint", "checkpoint", marked("2.5.0"), ("LTX-2.5", "LTX-2.3")),
    "unknown key": ("LTXDuoModelLoader", "checkpoint", "checkpoint", unknown_key, ("1 unexpected", "attn9.to_q")),
    "missing key": (
        "LTXDuoModelLoader",
        "checkpoint",
        "checkpoint",
        without(BLOCK + "attn2.to_q.weight"),
        ("1 missing", "attn2.to_q.weight"),
    ),
    "VAE without sound": (
        "LTXDuoVAELoader",
        "checkpoint",
        "checkpoint",
        without("audio_vae.", "vocoder."),
        ("no audio VAE decoder", "audio VAE file"),
    ),
    "sound without statistics": (
        "LTXDuoVAELoader",
        "checkpoint",
        "checkpoint",
        without("audio_vae.per_channel_statistics."),
        ("mean-of-means",),
    ),
    "no text projection": (
        "LTXDuoTextEncoderLoader",
        "projection",
        "checkpoint",
        without("text_embedding_projection."),
        ("no text projection", "choose the checkpoint"),
    ),
    "projection of another text encoder": (
        "LTXDuoTextEncoderLoader",
        "projection",
        "checkpoint",
        wide_projection,
        ("12,160 values a token", "224 (7 states of 32)", "Choose the text encoder"),
    ),
    "LoRA of another model": ("LTXDuoLoraLoader", "lora", "distilled LoRA", other_width, ("LoRA of another model",)),
    "upsampler by 1.5": (
        "LTXDuoUpsamplerLoader",
        "upsampler",
        "upsampler",
        configured(spatial_scale=1.5, rational_resampler=True),
        ("1.5", "x2"),
    ),
    "upsampler in time": (
        "LTXDuoUpsamplerLoader",
        "upsampler",
        "upsampler",
        configured(spatial_upsample=False, temporal_upsample=True),
        ("in time", "x2"),
    ),
}


@pytest.mark.parametrize("case", BY_HEADER)
def test_refused_when_it_is_queued(case, refusal):
    *where, change, words = BY_HEADER[case]
    said, queued = refusal(*where, change)
    assert not queued
    assert all(word in said for word in words), said


BY_NUMBERS = {
    "transformer": ("LTXDuoModelLoader", "checkpoint", "checkpoint", nan_in(BLOCK + "attn1.to_q.bias"), "NaN"),
    "picture": ("LTXDuoVAELoader", "checkpoint", "checkpoint", nan_in("vae.decoder.conv_out.conv.bias"), "NaN"),
    "sound": ("LTXDuoVAELoader", "checkpoint", "checkpoint", nan_in("audio_vae.decoder.conv_in.conv.bias"), "NaN"),
    "projection": (
        "LTXDuoTextEncoderLoader",
        "projection",
        "checkpoint",
        nan_in("text_embedding_projection.video_aggregate_embed.bias"),
        "NaN",
    ),
    "upsampler": ("LTXDuoUpsamplerLoader", "upsampler", "upsampler", nan_in("final_conv.bias"), "NaN"),
    "LoRA": (
        "LTXDuoLoraLoader",
        "lora",
        "distilled LoRA",
        nan_in("diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight"),
        "NaN",
    ),
}


@pytest.mark.parametrize("case", BY_NUMBERS)
def test_refused_when_it_is_opened(case, refusal):
    *where, change, words = BY_NUMBERS[case]
    said, queued = refusal(*where, change)
    assert queued
    assert words in said
