"""What the LoRA loader says: what acts and what does nothing, and why a file is refused, at queue or when it runs."""

import asyncio

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.nodes.comfyui import open_files

TO_Q, CONNECTOR = "transformer_blocks.0.attn1.to_q", "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"


@pytest.fixture
def small(models, names):
    """The small LoRA's tensors."""
    return load_file(models / "loras" / names.lora)


@pytest.fixture
def told(nodes, model, folder):
    """`told(tensors, **inputs)`: what the node shows and hands out for such a file."""

    def execute(tensors, metadata=None, **inputs):
        save_file(tensors, folder("loras") / "style.safetensors", metadata)
        inputs = {"strength_stage_one": 0.0, "strength_stage_two": 1.0, **inputs}
        done = asyncio.run(nodes["LTXDuoLoraLoader"].execute(model=model, lora="style.safetensors", **inputs))
        return done.ui["text"], done.args[0]

    return execute


def pair(layer: str, shape=(4, 4), rank: int = 2) -> dict[str, torch.Tensor]:
    down, up = torch.ones(rank, shape[1]), torch.ones(shape[0], rank)
    return {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}


def test_what_acts_by_part(told, small):
    [text], _ = told(small)
    assert text.startswith("LoRA of rank 4 to 16 on 164 layers: ")
    counts = {words.rsplit(" ", 1)[0]: int(words.rsplit(" ", 1)[1]) for words in text.split(": ")[1].split(", ")}
    assert counts.keys() == {"picture", "sound", "between picture and sound"} and sum(counts.values()) == 164


def test_what_does_nothing_is_listed_with_the_reason(told, small):
    foreign = pair("text_embedding_projection.aggregate_embed") | pair("lora_te1_layers_0_mlp_fc1")
    foreign |= pair("diffusion_model.caption_projection.linear_1") | pair("diffusion_model.blocks.0.cross_attn.k_img")
    (first, *rest), adapted = told(small | foreign)
    assert "on 164 layers" in first and len(adapted.loras[0].lora.layers) == 164
    for words in (
        "2 keys of the text projection, over which no LoRA is laid (text_embedding_projection.aggregate_embed",
        "2 keys of a text encoder, over which no LoRA is laid (lora_te1_layers_0_mlp_fc1",
        "2 keys of layers that this model does not have (diffusion_model.caption_projection.linear_1",
        "2 keys of Wan (diffusion_model.blocks.0.cross_attn.k_img",
    ):
        assert [words in text for text in rest].count(True) == 1, words
    assert len(rest) == 4


def test_metadata_that_scales_is_named(told):
    text = told(pair(f"diffusion_model.{TO_Q}", (128, 128)), {"lora_alpha": "1"})[0][0]
    assert text == "LoRA of rank 2 on 1 layer: picture 1; scaled as lora_alpha in its metadata says"


def test_a_lora_that_acts_nowhere_is_said(told, small):
    own = {key: tensor for key, tensor in small.items() if ".audio_attn" in key}
    assert len(told(own)[0]) == 1
    assert "it does nothing" in told(own, audio_strength=0.0)[0][1]
    assert len(told(own, video_strength=0.0)[0]) == 1


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((), "is empty"),
        (("text_encoder.layers.0.self_attn.q_proj",), "is a text encoder's LoRA"),
        (("diffusion_model.blocks.0.self_attn.q",), "is a LoRA of Wan, not of LTX-2"),
        (("transformer.single_transformer_blocks.0.attn.to_q",), "is a LoRA of Flux, not of LTX-2"),
    ],
)
def test_what_is_for_something_else_is_refused_at_queue(folder, layers, words):
    tensors = {key: tensor for layer in layers for key, tensor in pair(layer).items()}
    save_file(tensors, folder("loras") / "other.safetensors")
    with pytest.raises(LTXError, match=words):
        open_files.check_lora("other.safetensors")


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ("diffusion_model.adaln_single.linear", (6 * 128, 128), r"It is for LTX-2\.0 \(adaln_single.linear makes 6"),
        ("lora_unet_transformer_blocks_0_attn1_to_q", (256, 128), "256x128 instead of 128x128"),
        ("dit.layer7.query", (4, 4), "of another key format, or of a model that is not LTX-2"),
    ],
)
def test_what_does_not_fit_says_why(told, layer, shape, words):
    with pytest.raises(LTXError, match=words) as error:
        told(pair(layer, shape))
    assert "damaged" not in str(error.value) and "download" not in str(error.value)


def test_connectors_that_a_prompt_has_been_through(told, texts, model):
    """Their part of a LoRA cannot act."""
    _, adapted = told(pair(f"diffusion_model.{CONNECTOR}", (128, 128)) | pair(f"diffusion_model.{TO_Q}", (128, 128)))
    before = (model.features(texts[0]), None)
    video, audio, _ = before[0]
    through = ((video, audio, False), None)
    assert adapted.loras_before_connectors(before, 2) == []
    assert adapted.loras_before_connectors(through, 2) == ["style.safetensors"]
    assert adapted.loras_before_connectors(through, 1) == []  # at strength 0 there


def test_the_official_file_changes_no_connectors(models, names):
    lora = LoRA.open(models / "loras" / names.lora)
    assert not lora.unused and lora.scale_key is None and all(layer.is_pair for layer in lora.layers.values())
