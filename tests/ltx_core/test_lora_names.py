"""Whose layers a LoRA's keys are: every official layer in every spelling, and what each writes to."""

import re

import pytest

from ltx_duo.ltx_core import lora_keys
from ltx_duo.ltx_core.lora.names import (
    CONNECTORS,
    Stream,
    is_cross,
    is_known,
    is_projection,
    is_text_encoder,
    module_name,
    other_model,
    stream,
)
from ltx_duo.ltx_core.lora.strengths import StreamStrengths, Strengths


@pytest.fixture(scope="module")
def official(official_tensors) -> list[str]:
    """All layers of transformer and connectors that have a weight, and all tables."""
    names = set()
    for prefix, part in (("", "transformer"), (CONNECTORS[0], "video_connector"), (CONNECTORS[1], "audio_connector")):
        names |= {prefix + re.sub(r"\.(weight|bias)$", "", name) for name in official_tensors(part)}
    return sorted(name for name in names if "learnable_registers" not in name)


def flat(name: str) -> str:
    return name.replace(".", "_")


PREFIXES = (
    "", "diffusion_model.", "transformer.", "model.diffusion_model.", "base_model.model.", "model.",
    "transformer.base_model.model.", "diffusion_model.diffusion_model.", "base_model.model.diffusion_model.",
)  # fmt: skip
FLAT_PREFIXES = (
    "lora_unet_",
    "lora_unet__",
    "lora_unet_model_",
    "lora_transformer_",
    "lycoris_",
    "lycoris_transformer_",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_dotted_names(official, prefix):
    assert [module_name(prefix + name) for name in official] == official
    assert all(map(is_known, official))


@pytest.mark.parametrize("prefix", FLAT_PREFIXES)
def test_underscored_names(official, prefix):
    assert len({flat(name) for name in official}) == len(official) > 1700
    assert [module_name(prefix + flat(name)) for name in official] == official


def test_nothing_official_is_taken_for_something_else(official):
    spelled = [*official, *(f"lora_unet_{flat(name)}" for name in official), *(f"transformer.{n}" for n in official)]
    assert not [name for name in spelled if is_text_encoder(name) or is_projection(name) or other_model(name)]


@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("transformer.proj_in", "patchify_proj"),
        ("transformer.audio_time_embed.emb.timestep_embedder.linear_1",
         "audio_adaln_single.emb.timestep_embedder.linear_1"),
        ("transformer.av_cross_attn_audio_v2a_gate.linear", "av_ca_v2a_gate_adaln_single.linear"),
        ("transformer.transformer_blocks.7.attn1.norm_q", "transformer_blocks.7.attn1.q_norm"),
        ("connectors.audio_connector.transformer_blocks.1.attn1.to_out.0",
         "audio_embeddings_connector.transformer_1d_blocks.1.attn1.to_out.0"),
        ("lycoris_time_embed_linear", "adaln_single.linear"),
        ("lora_transformer_av_cross_attn_video_scale_shift_linear", "av_ca_video_scale_shift_adaln_single.linear"),
        ("lora_unet_transformer_blocks_0_attn3_to_q", "lora_unet_transformer_blocks_0_attn3_to_q"),
    ],
)  # fmt: skip
def test_diffusers_names(name, official):
    assert module_name(name) == official


@pytest.mark.parametrize(
    ("key", "layer", "part"),
    [
        ("a.b.lora_A.weight", "a.b", lora_keys.DOWN),
        ("a.b.lora_B.default.weight", "a.b", lora_keys.UP),
        ("a.b.lora_B.my-style.weight", "a.b", lora_keys.UP),
        ("a.b.lora_A", "a.b", lora_keys.DOWN),
        ("a_b.lora_down.weight", "a_b", lora_keys.DOWN),
        ("a.b.lora.up.weight", "a.b", lora_keys.UP),
        ("a.b_lora.down.weight", "a.b", lora_keys.DOWN),
        ("a.lora_linear_layer.up.weight", "a", lora_keys.UP),
        ("a.lora_B.bias", "a", lora_keys.UP_BIAS),
        ("a.lora_magnitude_vector", "a", lora_keys.DORA),
        ("a.lora_magnitude_vector.default.weight", "a", lora_keys.DORA),
        ("a.dora_scale", "a", lora_keys.DORA),
        ("a.lokr_w2_b", "a", "lokr_w2_b"),
        ("a.to_out.0.diff", "a.to_out.0", lora_keys.DIFFERENCE),
        ("a.diff_b", "a", lora_keys.BIAS_DIFFERENCE),
    ],
)
def test_parts(key, layer, part):
    assert lora_keys.split(key) == (layer, part)


@pytest.mark.parametrize("key", ["a.weight", "transformer_blocks.0.attn1.to_q.bias", "alpha", "lora_A.weight", ""])
def test_what_is_no_part_of_a_lora(key):
    assert lora_keys.split(key) is None and not lora_keys.is_lora(key)


@pytest.mark.parametrize(
    ("name", "writes", "cross"),
    [
        ("transformer_blocks.0.attn1.to_q", Stream.VIDEO, False),
        ("transformer_blocks.3.ff.net.2", Stream.VIDEO, False),
        ("transformer_blocks.0.audio_attn2.to_out.0", Stream.AUDIO, False),
        ("transformer_blocks.0.audio_ff.net.0.proj", Stream.AUDIO, False),
        ("transformer_blocks.0.audio_to_video_attn.to_k", Stream.VIDEO, True),
        ("transformer_blocks.0.video_to_audio_attn.to_k", Stream.AUDIO, True),
        ("transformer_blocks.0.audio_prompt_scale_shift_table", Stream.AUDIO, False),
        ("transformer_blocks.0.scale_shift_table_a2v_ca_audio", Stream.AUDIO, True),
        ("av_ca_a2v_gate_adaln_single.linear", Stream.VIDEO, True),
        ("av_ca_v2a_gate_adaln_single.linear", Stream.AUDIO, True),
        ("av_ca_audio_scale_shift_adaln_single.linear", Stream.AUDIO, True),
        ("av_ca_video_scale_shift_adaln_single.linear", Stream.VIDEO, True),
        ("audio_proj_out", Stream.AUDIO, False),
        ("prompt_adaln_single.linear", Stream.VIDEO, False),
        ("audio_embeddings_connector.transformer_1d_blocks.0.ff.net.2", Stream.AUDIO, False),
        ("video_embeddings_connector.transformer_1d_blocks.0.ff.net.2", Stream.VIDEO, False),
    ],
)
def test_what_a_layer_writes_to(name, writes, cross):
    assert stream(name) is writes and is_cross(name) is cross
    factor = {Stream.VIDEO: 0.5, Stream.AUDIO: -0.25}[writes] * (3.0 if cross else 1.0)
    assert Strengths(2.0, StreamStrengths(0.5, -0.25, 3.0)).of(name) == 2.0 * factor


def test_the_largest_strength_keeps_its_sign():
    assert Strengths(0.5, StreamStrengths(1.0, -2.0, 3.0)).largest == -3.0
    assert Strengths(0.5, StreamStrengths(0.0, 0.0, 3.0)).largest == 0
