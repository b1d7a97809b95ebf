"""What the user told ComfyUI at its start reaches the components."""

import asyncio

import comfy.model_management as mm
import pytest
import torch
from comfy.cli_args import args

from ltx_duo.ltx_core.kernels.attention import attend, scaled_dot_product
from ltx_duo.nodes.comfyui import attention, compat, components, dtypes, files

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
        ("fp16_unet", "auto", torch.bfloat16, torch.float32),
        ("fp64_unet", "auto", torch.bfloat16, torch.float32),
        ("fp8_e5m2_unet", "auto", torch.float8_e4m3fn, torch.float32),
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


# What a GPU with bfloat16 would choose without flags, and what one without it (or the CPU) would.
USUAL = (torch.bfloat16, torch.float32)


@pytest.fixture(params=USUAL, ids=str)
def usual(request, monkeypatch) -> torch.dtype:
    """The dtype that the pretended device computes in when no flag is given."""
    monkeypatch.setattr(mm, "should_use_bf16", lambda *_, **__: request.param == torch.bfloat16)
    return request.param


@pytest.mark.parametrize(
    "flag, part",
    [
        ("fp16_unet", "model"),
        ("fp16_vae", "VAE"),
        ("fp16_vae", "upsampler"),
        ("fp16_text_enc", "text encoder"),
    ],
)
def test_no_part_is_computed_in_float16(monkeypatch, usual, flag, part):
    choose = {
        "model": lambda: dtypes.for_model("auto"),
        "VAE": lambda: dtypes.for_vae(),
        "upsampler": lambda: dtypes.for_vae("upsampler"),
        "text encoder": lambda: dtypes.for_text_encoder("default"),
    }[part]
    before = choose()
    assert (before.compute, before.note) == (usual, None)
    monkeypatch.setattr(args, flag, True)
    choice = choose()
    name = str(usual).removeprefix("torch.")
    assert choice.compute == usual
    assert choice.note == (
        f"ComfyUI was started with --{flag.replace('_', '-')}, but the LTX-2.3 {part} is computed in {name}, "
        "as float16 overflows."
    )


@pytest.mark.parametrize(
    "flag, part, dtype",
    [
        ("bf16_unet", "model", torch.bfloat16),
        ("fp32_unet", "model", torch.float32),
        ("fp64_unet", "model", torch.float32),
        ("fp8_e4m3fn_unet", "model", None),
        ("fp8_e5m2_unet", "model", None),
        ("fp8_e8m0fnu_unet", "model", None),
        ("bf16_vae", "vae", torch.bfloat16),
        ("fp32_vae", "vae", torch.float32),
        ("bf16_text_enc", "text", torch.bfloat16),
        ("fp32_text_enc", "text", torch.float32),
        ("fp8_e4m3fn_text_enc", "text", None),
        ("fp8_e5m2_text_enc", "text", None),
    ],
)
def test_other_dtype_flags_are_followed_or_answered(monkeypatch, usual, flag, part, dtype):
    monkeypatch.setattr(args, flag, True)
    choice = {
        "model": lambda: dtypes.for_model("auto"),
        "vae": dtypes.for_vae,
        "text": lambda: dtypes.for_text_encoder("cpu"),
    }[part]()
    assert choice.compute == (dtype or usual)
    answered = flag in ("fp64_unet", "fp8_e5m2_unet", "fp8_e8m0fnu_unet", "fp8_e4m3fn_text_enc", "fp8_e5m2_text_enc")
    assert (choice.note is not None) == answered
    if answered:
        assert f"--{flag}".replace("_", "-").replace("fp8-", "fp8_") in choice.note


def test_every_dtype_flag_of_comfyui_is_known():
    """A new one shall be decided on, not overlooked."""
    import comfy.cli_args

    options = {option for action in comfy.cli_args.parser._actions for option in action.option_strings}
    of_parts = {option for option in options if option.endswith(("-unet", "-vae", "-text-enc"))} - {"--cpu-vae"}
    assert {option.lstrip("-").replace("-", "_") for option in of_parts} == {
        "fp32_unet", "fp64_unet", "bf16_unet", "fp16_unet", "fp8_e4m3fn_unet", "fp8_e5m2_unet", "fp8_e8m0fnu_unet",
        "fp16_vae", "fp32_vae", "bf16_vae",
        "fp8_e4m3fn_text_enc", "fp8_e5m2_text_enc", "fp16_text_enc", "fp32_text_enc", "bf16_text_enc",
    }  # fmt: skip
    assert all(hasattr(args, option.lstrip("-").replace("-", "_")) for option in of_parts)


def test_force_fp16_is_named_as_it_was_given(monkeypatch):
    monkeypatch.setattr(args, "force_fp16", True)
    monkeypatch.setattr(args, "fp16_unet", True)  # as ComfyUI sets it
    assert "--force-fp16" in dtypes.for_model("auto").note


def test_the_loaders_own_choice_needs_no_answer(monkeypatch):
    monkeypatch.setattr(args, "fp8_e5m2_unet", True)
    assert dtypes.for_model("bf16") == dtypes.Choice(torch.float32, "bf16")


def test_loaders_say_what_they_do_instead(monkeypatch, nodes, names):
    for flag in ("fp16_unet", "fp16_vae", "fp16_text_enc"):
        monkeypatch.setattr(args, flag, True)

    def told(name, **inputs):
        done = asyncio.run(nodes[f"LTXDuo{name}"].execute(**inputs))
        return done.args[0], done.ui["text"][-1]

    vae, of_vae = told("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
    encoder, of_text = told("TextEncoderLoader", text_encoder="gemma-3-small", projection=names.checkpoint,
                            device="default")  # fmt: skip
    upsampler, of_upsampler = told("UpsamplerLoader", upsampler=names.upsampler)
    model, of_model = told("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    assert "--fp16-vae" in of_vae and "VAE is computed in float32" in of_vae
    assert "--fp16-text-enc" in of_text and "text encoder is computed in float32" in of_text
    assert "--fp16-vae" in of_upsampler and "upsampler is computed in float32" in of_upsampler
    assert "--fp16-unet" in of_model and "model is computed in float32" in of_model
    parts = (vae.video_encoder(), vae.video_decoder(), vae.audio_decoder(), vae.vocoder(), encoder.component(),
             upsampler.component(), model.stage(1))  # fmt: skip
    assert {part.compute_dtype for part in parts} == {torch.float32}


def test_text_encoder_on_the_cpu_stays_there(checkpoint):
    gemma = files.open_checkpoint("gemma-3-small", ("text_encoders",))
    encoder = components.build_text_encoder(gemma, checkpoint, "cpu")
    assert encoder.patcher.load_device == encoder.patcher.offload_device == torch.device("cpu")


@pytest.mark.parametrize("flag", [*attention.FLAGS, "use_pytorch_cross_attention"])
def test_attention_flags(monkeypatch, flag):
    monkeypatch.setattr(attention, "flash_name", lambda device, tokens: f"kernel for {tokens} on {device}")
    assert attention.chosen_attention() is attend
    assert attention.installed_name(torch.device("cpu"), 5) == "kernel for 5 on cpu"
    monkeypatch.setattr(args, flag, True)
    own = scaled_dot_product if flag == "use_pytorch_cross_attention" else attention.through_comfyui
    assert attention.chosen_attention() is own
    assert attention.installed_name(torch.device("cpu"), 5) is None


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
