"""Float8 weights under ComfyUI: from bf16 and fp8 files, streamed, under LoRAs; here without float8 units."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.kernels import fp8
from ltx_duo.ltx_core.kernels import layer_protocols as protocols
from ltx_duo.ltx_core.kernels.fp8_linear import converts
from ltx_duo.nodes.comfyui import components, latents, layers, lora, memory, stage_loras
from ltx_duo.nodes.comfyui.components import Part
from ltx_duo.nodes.comfyui.files import load_tensors, open_checkpoint

PREFIX = "model.diffusion_model."
FOLDERS = ("checkpoints",)


def transformer(handle, stage: int = 1):
    return handle.stage(stage).load().transformer


def float8_layers(module) -> dict:
    return {
        n: m
        for n, m in module.named_modules()
        if getattr(m, "weight", None) is not None and m.weight.dtype == fp8.DTYPE
    }


def write_file(models, names, name: str, change) -> str:
    """A copy of the small checkpoint whose block matrices went through change(layer, weight) -> tensors."""
    path = models / "checkpoints" / names.checkpoint
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {}
    for key, tensor in load_file(path).items():
        layer, _, last = key.rpartition(".")
        if last == "weight" and ".transformer_blocks." in key and tensor.ndim == 2 and converts(layer, tensor):
            tensors |= {f"{layer}.{part}": value for part, value in change(layer, tensor).items()}
        else:
            tensors[key] = tensor
    save_file(tensors, models / "checkpoints" / name, metadata)
    return name


def official(layer: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    scale = weight.float().abs().max() / 448
    values = (weight.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": values, "weight_scale": scale, "input_scale": torch.tensor(0.5)}


def dequantised(models, name: str) -> dict[str, torch.Tensor]:
    tensors = load_file(models / "checkpoints" / name)
    return {
        key.removeprefix(PREFIX): tensor.float() * tensors.get(f"{key}_scale", torch.ones(()))
        for key, tensor in tensors.items()
        if key.startswith(PREFIX) and key.endswith(".weight")
    }


@pytest.fixture
def open_model(run):
    return lambda name, weight_dtype="auto": run("ModelLoader", checkpoint=name, weight_dtype=weight_dtype)


def test_bf16_file_as_fp8_stays_close(open_model, stage_one, model, names, models):
    handle = open_model(names.checkpoint, "fp8")
    layers_in_fp8 = float8_layers(transformer(handle))
    assert "transformer_blocks.0.attn1.to_q" in layers_in_fp8
    assert not any("to_gate_logits" in name or "adaln" in name for name in layers_in_fp8)
    original = dequantised(models, names.checkpoint)
    for name, layer in layers_in_fp8.items():
        weight = original[f"{name}.weight"]
        error = (layer.weight.float() * layer.weight_scale - weight).norm() / weight.norm()
        assert 0 < error < 0.04, name
    a, b = latents.take(stage_one(handle))[0], latents.take(stage_one(model))[0]
    assert 0 < (a - b).norm() / b.norm() < 0.3


def test_scaled_file_keeps_its_numbers(open_model, stage_one, streaming, names, models, same):
    name = write_file(models, names, "ltx-2.3-small-dev-fp8.safetensors", official)
    handle = open_model(name)
    stored = load_file(models / "checkpoints" / name)
    found = float8_layers(transformer(handle))
    assert len(found) == sum(tensor.dtype == fp8.DTYPE for tensor in stored.values()) > 20
    for layer, module in found.items():
        assert torch.equal(module.weight.float(), stored[f"{PREFIX}{layer}.weight"].float())
        assert module.weight_scale == pytest.approx(stored[f"{PREFIX}{layer}.weight_scale"].item())
    kept = stage_one(handle)
    # The same numbers as plain weights give the same video, up to the rounding of 0.04 % that bfloat16 weights have.
    plain = latents.take(stage_one(open_model(name, "bf16")))[0]
    assert (latents.take(kept)[0] - plain).norm() / plain.norm() < 0.02
    streaming()
    assert same(stage_one(open_model(name)), kept)


def test_cast_file_without_scales(open_model, names, models):
    name = write_file(
        models, names, "ltx-2.3-small-dev-cast.safetensors", lambda _, w: {"weight": w.to(torch.float8_e4m3fn)}
    )
    found = float8_layers(transformer(open_model(name)))
    assert len(found) > 20 and {module.weight_scale for module in found.values()} == {1.0}


def test_rows_of_scales_are_expanded(names, models):
    def per_row(_, weight):
        scale = weight.float().abs().amax(dim=1, keepdim=True) / 448
        return {"weight": (weight.float() / scale).to(torch.float8_e4m3fn), "weight_scale": scale}

    name = write_file(models, names, "ltx-2.3-small-dev-rows.safetensors", per_row)
    checkpoint = open_checkpoint(name, FOLDERS)
    weights, scales = components.model_weights(
        Part.TRANSFORMER, checkpoint, load_tensors(checkpoint), "auto", torch.device("cpu")
    )
    assert not scales
    stored = load_file(models / "checkpoints" / name)
    key = "transformer_blocks.0.ff.net.2.weight"
    exact = stored[PREFIX + key].float() * stored[f"{PREFIX}{key}_scale"]
    assert weights[key].dtype == torch.bfloat16
    torch.testing.assert_close(weights[key].float(), exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize("how", ["laid over", "streamed", "added at each use"])
def test_lora_over_float8_is_in_units_of_its_scale(
    open_model, run, stage_two, upsampled, streaming, names, models, how, monkeypatch
):
    """Against the same LoRA over the same numbers as plain bfloat16 weights."""
    way = lora.with_factors if how == "added at each use" else lora.with_patches
    monkeypatch.setattr(stage_loras, "with_loras", way)
    name = write_file(models, names, "ltx-2.3-small-dev-fp8.safetensors", official)
    fp8_model, plain_model = open_model(name), open_model(name, "bf16")
    adapted, reference = (
        run("LoraLoader", model=m, lora=names.lora, strength_stage_one=0.0, strength_stage_two=0.8)
        for m in (fp8_model, plain_model)
    )
    exact = latents.take(stage_two(reference, upsampled))[0]
    without = latents.take(stage_two(plain_model, upsampled))[0]
    if how == "streamed":
        streaming()
    result = latents.take(stage_two(adapted, upsampled))[0]
    effect = (exact - without).norm()
    assert (result - exact).norm() < 0.5 * effect, "the LoRA's effect is not that of the plain model"
    if how != "streamed":
        patched, original = float8_layers(transformer(adapted, 2)), dequantised(models, name)
        pairs = load_file(models / "loras" / names.lora)
        for layer in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2"):
            down, up = (pairs[f"diffusion_model.{layer}.lora_{side}.weight"].float() for side in "AB")
            expected = original[f"{layer}.weight"] + 0.8 * up @ down
            result = patched[layer].weight.float()
            for function in patched[layer].weight_function:
                result = function(result)
            result = result * patched[layer].weight_scale
            assert (result - expected).norm() / expected.norm() < 0.06, layer


def test_layers_work_as_comfyuis_without_float8(config, names):
    """GELU and products of plain layers are ComfyUI's own."""
    ops, _ = memory.pick_ops({"a.weight": torch.zeros(1)}, torch.float32)
    layer = ops.Linear(32, 16, dtype=torch.float32)
    torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 32)
    exact = torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), exact)
    assert torch.equal(layer.forward_gelu(x), torch.nn.functional.gelu(exact, approximate="tanh"))
    assert not layer.takes_fp8_rows(x.bfloat16())


def test_layers_offer_what_the_engine_asks_for(config, names):
    """By the names of its protocols: another name would be no error, only slower."""
    ops, _ = memory.pick_ops({"a.weight": torch.zeros(1)}, torch.float32)
    for protocol in (protocols.TakesFp8Rows, protocols.FusesGelu, protocols.TellsFixedWeights):
        assert protocols.offers(ops.Linear(32, 16), protocol), protocol
    assert protocols.offers(ops.Conv3d(4, 4, 3), protocols.LeavesBias)


def test_scales_are_laid_once_and_used_where_they_lie(open_model, names, models, monkeypatch):
    monkeypatch.setattr(fp8, "fp8_matmul_works", lambda device: True)
    name = write_file(models, names, "ltx-2.3-small-dev-fp8.safetensors", official)
    found = float8_layers(transformer(open_model(name)))
    assert len(found) > 20
    for layer in found.values():
        assert layer.scales(layer.weight) is layer._scales
        assert layer._scales.shape == (1, len(layer.weight)) and (layer._scales == layer.weight_scale).all()
    assert len({layer._scales.untyped_storage().data_ptr() for layer in found.values()}) == 1


@pytest.mark.parametrize(("outputs", "units"), [(32, True), (4, False)])
def test_float8_weight_of_odd_sides_is_expanded(monkeypatch, outputs, units):
    """A gate of four heads in somebody's file."""
    made = []

    def product(rows, weight, scales, bias):
        made.append(weight.shape)
        return fp8.expanded_linear(rows, weight, scales[0, 0].item(), bias)

    monkeypatch.setattr(fp8, "fp8_matmul_works", lambda device: True)
    monkeypatch.setattr(fp8, "fp8_linear", product)
    ops, _ = memory.pick_ops({"a.weight": torch.zeros(1, dtype=fp8.DTYPE)}, torch.bfloat16)
    layer, weight = ops.Linear(64, outputs, bias=False), torch.randn(outputs, 64)
    values, scale = fp8.quantize_weight(weight)
    layer.load_state_dict({"weight": values}, assign=True)
    layer.weight_scale = scale
    x = torch.randn(2, 3, 64, dtype=torch.bfloat16)
    exact = x.float() @ (values.float() * scale).T
    assert (layer(x).float() - exact).norm() / exact.norm() < 0.05
    assert bool(made) == units


def test_conversion_clamps_instead_of_overflowing():
    weight = torch.randn(16, 32)
    weight[0, 0] = 1e6
    weights, scales = layers.to_fp8({"transformer_blocks.0.attn1.to_q.weight": weight}, torch.device("cpu"))
    (values,), (scale,) = weights.values(), scales.values()
    assert torch.isfinite(values.float()).all()
    assert values[0, 0].float() * scale == pytest.approx(1e6, rel=0.04)
    json.dumps(scales)  # plain numbers, nothing that lives on a device
