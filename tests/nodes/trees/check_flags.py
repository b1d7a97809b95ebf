"""What the user told ComfyUI at its start reaches the components."""

import comfy.model_management as mm
import pytest
import torch
from comfy.cli_args import args

from ltx_duo.ltx_core.transformer.attention import scaled_dot_product
from ltx_duo.nodes.comfyui import attention, compat, components, files

CHECKPOINT = "ltx-2.3-small-dev.safetensors"


@pytest.fixture
def checkpoint():
    return files.open_checkpoint(CHECKPOINT, ("checkpoints",))


def weight(component) -> torch.dtype:
    return component.module.transformer.transformer_blocks[0].attn1.to_q.weight.dtype


@pytest.mark.parametrize(
    "flag, choice, stored, computed",
    [
        (None, "auto", torch.bfloat16, torch.float32),
        ("bf16_unet", "auto", torch.bfloat16, torch.bfloat16),
        ("fp32_unet", "auto", torch.bfloat16, torch.float32),
        ("fp8_e4m3fn_unet", "auto", torch.float8_e4m3fn, torch.float32),
        ("fp8_e4m3fn_unet", "bf16", torch.bfloat16, torch.float32),
    ],
)
def test_model_dtypes(checkpoint, monkeypatch, flag, choice, stored, computed):
    if flag is not None:
        monkeypatch.setattr(args, flag, True)
    model = components.build_model(checkpoint, choice)
    assert (weight(model), model.compute_dtype) == (stored, computed)
    # Connectors and tables are never float8.
    kinds = {name: tensor.dtype for name, tensor in model.module.state_dict().items()}
    assert all(kind in (torch.bfloat16, torch.float32) for name, kind in kinds.items() if "connector" in name)
    assert kinds["transformer.scale_shift_table"] == torch.float32


def test_sound_is_always_computed_in_float32(checkpoint, monkeypatch):
    monkeypatch.setattr(args, "bf16_vae", True)
    assert components.build_vae_part(components.Part.VIDEO_DECODER, checkpoint).compute_dtype == torch.bfloat16
    vocoder = components.build_vae_part(components.Part.VOCODER, checkpoint, torch.float32)
    assert vocoder.compute_dtype == torch.float32


def test_text_encoder_on_the_cpu_stays_there(checkpoint):
    gemma = files.open_checkpoint("gemma-3-small", ("text_encoders",))
    encoder = components.build_text_encoder(gemma, checkpoint, "cpu")
    assert encoder.patcher.load_device == encoder.patcher.offload_device == torch.device("cpu")


@pytest.mark.parametrize("flag", attention.FLAGS)
def test_attention_flags(monkeypatch, flag):
    assert attention.chosen_attention() is scaled_dot_product
    monkeypatch.setattr(args, flag, True)
    assert attention.chosen_attention() is attention.through_comfyui


@pytest.mark.parametrize("name", ["attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch"])
@pytest.mark.parametrize("masked", [False, True])
def test_comfyuis_attention_gives_the_engines_result(monkeypatch, rng, name, masked):
    import comfy.ldm.modules.attention as theirs

    monkeypatch.setattr(theirs, "optimized_attention", getattr(theirs, name))
    q, k, v = (torch.randn(1, 4, length, 16, generator=rng) for length in (40, 24, 24))
    mask = torch.randn(1, 1, 40, 24, generator=rng) if masked else None
    assert torch.allclose(attention.through_comfyui(q, k, v, mask), scaled_dot_product(q, k, v, mask), atol=1e-5)


def test_every_component_has_the_class_that_comfyui_uses_now(checkpoint, monkeypatch):
    import comfy.model_patcher

    class Newest(comfy.model_patcher.ModelPatcher):
        pass

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Newest, raising=False)
    assert compat.patcher_class() is Newest
    part = components.build_vae_part(components.Part.VIDEO_DECODER, checkpoint)
    assert type(part.patcher) is Newest and part.patcher.load_device == mm.vae_device()
