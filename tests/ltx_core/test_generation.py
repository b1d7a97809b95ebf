"""Which generation a file is of: by what it says of itself, else by its tensors."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint
from ltx_duo.ltx_core.errors import VariantError
from ltx_duo.ltx_core.generation import Generation, generation_of_version, named_generation, version_tuple

V = Generation
BLOCK = "model.diffusion_model.transformer_blocks.0."
TRANSFORMER_2_0 = (
    BLOCK + "attn1.to_q.weight",
    BLOCK + "ff.net.2.bias",
    "model.diffusion_model.audio_adaln_single.linear.weight",
    "model.diffusion_model.caption_projection.linear_1.weight",
)
TRANSFORMER_2_3 = (*TRANSFORMER_2_0[:3], "model.diffusion_model.prompt_adaln_single.linear.weight")
TRANSFORMER_2_5 = (
    BLOCK + "attn1.to_q.weight",
    *TRANSFORMER_2_3[2:],
    "model.diffusion_model.keyframes_abs_pos_embedding",
)
VOCODER_2_0 = ("vocoder.conv_pre.weight",)


@pytest.fixture
def opened(tmp_path):
    def open_file(names, **metadata) -> Checkpoint:
        save_file({name: torch.zeros(1) for name in names}, tmp_path / "x.safetensors", metadata)
        return Checkpoint.open(tmp_path / "x.safetensors")

    return open_file


@pytest.mark.parametrize(
    ("version", "numbers", "generation"),
    [
        ("2.3", (2, 3), V.V2_3),
        ("2.3.0", (2, 3, 0), V.V2_3),
        ("2.3.rc1", (2, 3), V.V2_3),
        ("2.3.0-small", (2, 3, 0), V.V2_3),
        ("2.4-rc2", (2, 4), V.V2_5),
        ("2.5.0", (2, 5, 0), V.V2_5),
        ("3.0", (3, 0), V.LATER),
        ("2", (2,), V.V2_0),
        ("2.0.1", (2, 0, 1), V.V2_0),
        ("2.10", (2, 10), V.LATER),
        ("", (), None),
        ("rc1", (), None),
        ("²", (), None),
        ("２.３", (), None),
        ("2.3" + "9" * 5000, (2,), V.V2_0),
    ],
)
def test_versions(version, numbers, generation):
    assert version_tuple(version) == numbers
    assert generation_of_version(version) is generation


@given(st.text(alphabet="0123456789.-rcx²٣ ", max_size=20))
def test_any_version_is_read(version):
    numbers = version_tuple(version)
    assert all(number >= 0 for number in numbers)
    assert [int(part) for part in version.replace("-", ".").split(".")[: len(numbers)]] == list(numbers)


@pytest.mark.parametrize(
    ("names", "generation"),
    [
        (TRANSFORMER_2_0, V.V2_0),
        (TRANSFORMER_2_3, V.V2_3),
        (TRANSFORMER_2_5, V.V2_5),
        (TRANSFORMER_2_3[:1] + TRANSFORMER_2_3[2:], V.V2_5),
        ((BLOCK + "attn1.to_q.weight",), None),
        (("text_embedding_projection.aggregate_embed.weight",), V.V2_0),
        (("text_embedding_projection.video_aggregate_embed.bias",), V.V2_3),
        (VOCODER_2_0, V.V2_0),
        (("vocoder.bwe_generator.conv_pre.weight",), V.V2_3),
        (("model.diffusion_model.video_embeddings_connector.learnable_registers",), V.V2_0),
        (("video_embeddings_connector.transformer_1d_blocks.0.attn1.to_gate_logits.weight",), V.V2_3),
    ],
)
def test_guess_by_tensors(opened, names, generation):
    assert opened(names).generation is generation


@pytest.mark.parametrize(("groups", "generation"), [((0, 2, 4, 6), V.V2_0), ((0, 2, 4, 6, 8), V.V2_3)])
def test_guess_by_the_video_decoders_layers(tmp_path, groups, generation):
    tensors = {f"decoder.up_blocks.{n}.res_blocks.0.conv1.conv.weight": torch.zeros(1) for n in groups}
    save_file(tensors | {"decoder.conv_in.conv.weight": torch.zeros(1, 1, 1, 1, 1)}, tmp_path / "x.safetensors")
    assert Checkpoint.open(tmp_path / "x.safetensors").generation is generation


@pytest.mark.parametrize(
    ("metadata", "generation"),
    [
        ({"model_version": "2.3.0"}, V.V2_3),
        ({"model_version": "unknown"}, V.V2_0),
        ({"config": json.dumps({"vae": {"ltx_variant": "ltx_2_3"}})}, V.V2_3),
        ({"config": json.dumps({"ltx_variant": "LTX_2.5"})}, V.V2_5),
        ({"config": json.dumps({"vae": {"ltx_variant": "something"}, "x": 3})}, V.V2_0),
        ({"config": "broken"}, V.V2_0),
        ({"model_version": "2.3", "config": json.dumps({"transformer": {"ltx_variant": "ltx_2_3"}})}, V.V2_3),
        ({"gemma_source_checkpoint": json.dumps({"ltx_version": "2.5.0"})}, V.V2_5),
        ({"gemma_source_checkpoint": "broken"}, V.V2_0),
        ({"gemma_source_checkpoint": "[]"}, V.V2_0),
    ],
)
def test_a_marker_wins_over_the_tensors(opened, metadata, generation):
    assert opened(VOCODER_2_0, **metadata).generation is generation


def test_contradicting_markers_are_an_error(opened, tmp_path):
    config = json.dumps({"vae": {"ltx_variant": "ltx_2"}, "transformer": {"ltx_variant": "ltx_2_3"}})
    with pytest.raises(VariantError) as error:
        opened(VOCODER_2_0, config=config)
    message = str(error.value)
    assert str(tmp_path) in message
    assert "config.vae.ltx_variant 'ltx_2' means LTX-2.0" in message
    assert "config.transformer.ltx_variant 'ltx_2_3' means LTX-2.3" in message


@pytest.mark.parametrize(
    ("version", "said"),
    [("2.4-rc2", "LTX-2.4"), ("2.5.1", "LTX-2.5"), ("3.0", "LTX-3.0"), ("2.10.3", "LTX-2.10"), ("2", "LTX-2")],
)
def test_messages_say_the_version_that_is_found(opened, version, said):
    assert opened(VOCODER_2_0, model_version=version).generation_name == said


def test_messages_say_what_the_tensors_look_like_where_no_version_is_found(opened):
    assert opened(VOCODER_2_0).generation_name == "LTX-2.0"
    assert opened(VOCODER_2_0, model_version="unknown").generation_name == "LTX-2.0"


def test_models_before_ltx_2_are_refused(opened):
    with pytest.raises(
        VariantError, match=r"is '0\.9\.8', a model before LTX-2; expected LTX-2\.5, LTX-2\.3 or LTX-2\.0"
    ):
        opened(VOCODER_2_0, model_version="0.9.8")


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("ltx-2-spatial-upscaler-x2-1.0.safetensors", V.V2_0),
        ("ltx-2-temporal-upscaler-x2-1.0.safetensors", V.V2_0),
        ("LTX_2_spatial_upscaler.safetensors", V.V2_0),
        ("ltx-2.3-spatial-upscaler-x2-1.1.safetensors", V.V2_3),
        ("ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors", V.V2_3),
        ("ltx-2.5-spatial-upscaler-x2-1.0.safetensors", V.V2_5),
        ("spatial-upscaler-x2-1.0.safetensors", None),
        ("ltx-2-my-upscaler.safetensors", None),
    ],
)
def test_upsamplers_by_their_name(name, generation):
    assert named_generation(name) is generation
