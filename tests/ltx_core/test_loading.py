"""From files to modules: whose tensors are whose, what is computed in float32, and which generation is not run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.loading_components import load_components

DEMO = Path(__file__).resolve().parents[2] / "demo_model" / "files"
CHECKPOINT = DEMO / "checkpoints" / "ltx-2.3-demo-dev.safetensors"
UPSAMPLER = DEMO / "latent_upscale_models" / "ltx-2.3-demo-spatial-upscaler-x2.safetensors"


@pytest.mark.parametrize(
    "component, dtype", [(Component.VOCODER, torch.float32), (Component.AUDIO_DECODER, torch.bfloat16)]
)
def test_the_vocoder_alone_stays_in_float32(component, dtype):
    module = load_component(Checkpoint.open(CHECKPOINT), component, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}


def test_a_transformer_without_prefix_takes_nothing_of_other_parts(tmp_path):
    own = ["transformer_blocks.0.attn1.to_q.weight", "patchify_proj.weight", "scale_shift_table"]
    others = ["vae.decoder.conv_out.conv.bias", "vocoder.conv_pre.weight", "text_embedding_projection.a", "strange"]
    save_file({name: torch.ones(2) for name in own + others}, tmp_path / "model.safetensors")
    checkpoint = Checkpoint.open(tmp_path / "model.safetensors")
    assert sorted(checkpoint.key_maps[Component.TRANSFORMER]) == sorted(own)
    assert "strange" in checkpoint.unrecognised


def test_later_generations_are_refused_before_anything_is_loaded(tmp_path):
    metadata = {"model_version": "3.1.0", "config": json.dumps({})}
    save_file({"transformer_blocks.0.attn1.to_q.weight": torch.ones(2)}, tmp_path / "new.safetensors", metadata)
    save_file({"model.layers.0.pre_feedforward_layernorm.weight": torch.ones(2)}, tmp_path / "gemma.safetensors", {})
    with pytest.raises(CheckpointError, match=r"new\.safetensors is of LTX-3\.1"):
        load_components(tmp_path / "new.safetensors", tmp_path / "gemma.safetensors", UPSAMPLER)
