"""Quantised files in all their forms: what is found in them, and the plain weights that they stand for."""

import itertools
import json
import math

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.loading import load_component, weight_shapes
from ltx_duo.ltx_core.packed_weights import unpack
from ltx_duo.ltx_core.quantization import (
    LayerQuantization,
    check_supported,
    dequantize,
    keep_fp8,
    keep_marked,
    quantization,
)
from ltx_duo.scripts.small_model_parts.sizes import model_config
from ltx_duo.scripts.small_model_parts.values import RandomValues
from ltx_duo.scripts.small_model_parts.write import _transformer

PREFIX = "model.diffusion_model."
LAYER = "transformer_blocks.0.attn1.to_q"
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
CONFIG = model_config()


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """A small transformer's weights by module name."""
    return _transformer(RandomValues(3), CONFIG)


@pytest.fixture
def opened(tmp_path):
    def open_file(state: dict[str, torch.Tensor], **metadata) -> Checkpoint:
        tensors = {PREFIX + name: tensor.contiguous() for name, tensor in state.items()}
        save_file(tensors, tmp_path / "fp8.safetensors", {"config": json.dumps(CONFIG), **metadata})
        return Checkpoint.open(tmp_path / "fp8.safetensors")

    return open_file


def quantizable(state: dict[str, torch.Tensor]) -> list[str]:
    """Layers of the middle blocks, as in the official files."""
    weights = [name for name, tensor in state.items() if name.endswith(".weight") and tensor.ndim == 2]
    return [
        name.removesuffix(".weight")
        for name in weights
        if name.startswith(("transformer_blocks.1", "transformer_blocks.2"))
    ]


def scaled(state: dict[str, torch.Tensor], weight="weight_scale", activation="input_scale") -> dict[str, torch.Tensor]:
    """The official -fp8 form: one scale a layer, so that the largest weight becomes 448."""
    state = dict(state)
    for layer in quantizable(state):
        full = state[f"{layer}.weight"].float()
        scale = full.abs().max() / 448
        state[f"{layer}.weight"] = (full / scale).clamp(-448, 448).to(E4M3)
        state[f"{layer}.{weight}"] = scale
        state[f"{layer}.{activation}"] = torch.tensor(0.01)
    return state


def cast(state: dict[str, torch.Tensor], dtype=E4M3) -> dict[str, torch.Tensor]:
    """Weights and biases of the layers as float8, without a scale."""
    layers = quantizable(state)
    parts = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    return {name: tensor.to(dtype) if name in parts else tensor for name, tensor in state.items()}


def comfy_layers(state: dict[str, torch.Tensor], prefix: str) -> str:
    layers = {prefix + layer: {"format": "float8_e4m3fn"} for layer in quantizable(state)}
    return json.dumps({"format_version": "1.0", "layers": layers})


def json_tensor(value: object) -> torch.Tensor:
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def check_plain(found: dict[str, torch.Tensor], plain: dict[str, torch.Tensor], error: float) -> None:
    assert set(found) == set(plain)
    for name, tensor in found.items():
        assert tensor.dtype == plain[name].dtype
        full = plain[name].float()
        assert (tensor.float() - full).abs().max() <= error * full.abs().max(), name


class TestForms:
    """Each form is found layer by layer and gives the weights back, to float8's half step of 1/16."""

    def test_plain(self, opened, plain):
        checkpoint = opened(plain)
        assert quantization(checkpoint) == {}
        state = checkpoint.state_dict(Component.TRANSFORMER)
        same = dequantize(state)
        assert all(same[name] is tensor for name, tensor in state.items())

    def test_official_scaled(self, opened, plain):
        checkpoint = opened(scaled(plain))
        layers = quantization(checkpoint)
        assert set(layers) == set(quantizable(plain))
        assert set(layers.values()) == {LayerQuantization("float8_e4m3fn", True, True)}
        check_supported(layers, checkpoint.path)
        state = checkpoint.state_dict(Component.TRANSFORMER)
        weights = dequantize(state)
        check_plain(weights, plain, 1 / 16)
        name = f"{quantizable(plain)[5]}.weight"
        exact = state[name].float() * state[name.replace("weight", "weight_scale")]
        assert torch.equal(weights[name], exact.bfloat16())
        assert torch.equal(dequantize(state, torch.float32)[name], exact)

    @pytest.mark.parametrize(("dtype", "error"), [(E4M3, 1 / 16), (E5M2, 1 / 8)])
    def test_plain_cast(self, opened, plain, dtype, error):
        checkpoint = opened(cast(plain, dtype))
        layers = quantization(checkpoint)
        assert set(layers) == set(quantizable(plain))
        format = {E4M3: "float8_e4m3fn", E5M2: "float8_e5m2"}[dtype]
        assert set(layers.values()) == {LayerQuantization(format, False, False)}
        check_plain(dequantize(checkpoint.state_dict(Component.TRANSFORMER)), plain, error)

    @pytest.mark.parametrize("prefix", [PREFIX, ""])
    def test_comfyui_metadata(self, opened, plain, prefix):
        checkpoint = opened(scaled(plain), _quantization_metadata=comfy_layers(plain, prefix))
        layers = quantization(checkpoint)
        assert set(layers) == set(quantizable(plain))
        check_supported(layers, checkpoint.path)
        check_plain(dequantize(checkpoint.state_dict(Component.TRANSFORMER)), plain, 1 / 16)

    def test_comfyui_mark_in_each_layer(self, opened, plain):
        state = scaled(plain)
        state |= {f"{layer}.comfy_quant": json_tensor({"format": "float8_e4m3fn"}) for layer in quantizable(plain)}
        checkpoint = opened(state)
        assert {layer.format for layer in quantization(checkpoint).values()} == {"float8_e4m3fn"}
        check_plain(dequantize(checkpoint.state_dict(Component.TRANSFORMER)), plain, 1 / 16)

    def test_older_comfyui(self, opened, plain):
        state = scaled(plain, "scale_weight", "scale_input") | {"scaled_fp8": torch.zeros(2).to(E4M3)}
        checkpoint = opened(state)
        assert set(quantization(checkpoint).values()) == {LayerQuantization("float8_e4m3fn", True, True)}
        assert checkpoint.unrecognised == ()
        check_plain(dequantize(checkpoint.state_dict(Component.TRANSFORMER)), plain, 1 / 16)

    def test_scales_of_rows(self, plain):
        full = plain[f"{LAYER}.weight"].float() * torch.arange(1, 129)[:, None]
        scales = full.abs().amax(1) / 448
        for shape in ((-1,), (-1, 1)):
            state = {
                f"{LAYER}.weight": (full / scales[:, None]).to(E4M3),
                f"{LAYER}.weight_scale": scales.reshape(shape),
            }
            restored = dequantize(state, torch.float32)[f"{LAYER}.weight"]
            assert ((restored - full).abs() <= full.abs().amax(1, keepdim=True) / 16).all()

    @pytest.mark.parametrize("read", [dequantize, lambda state: keep_fp8(state)[0]])
    def test_scale_beside_a_weight_that_is_not_float8(self, read):
        """The product keeps the weight's own dtype: 3.01 x 2 is not a bfloat16."""
        state = {"a.weight": torch.full((2, 2), 3.01), "a.scale_weight": torch.tensor([2.0])}
        assert torch.equal(read(state)["a.weight"], torch.full((2, 2), 6.02))


class TestKept:
    """What stays float8: e4m3 matrices with one scale, for those are what the GPU's float8 units are fed with."""

    def test_scaled(self, plain):
        state = scaled(plain)
        kept, scales = keep_fp8(state)
        assert set(kept) == set(plain) and set(scales) == set(quantizable(plain))
        for layer, scale in scales.items():
            assert kept[f"{layer}.weight"] is state[f"{layer}.weight"]
            assert scale == state[f"{layer}.weight_scale"].item()

    def test_cast(self, plain):
        kept, scales = keep_fp8(cast(plain))
        assert scales == dict.fromkeys(quantizable(plain), 1.0)
        biases = [tensor for name, tensor in kept.items() if name.endswith(".bias")]
        assert all(bias.dtype == torch.bfloat16 for bias in biases)

    def test_e5m2_is_expanded(self, plain):
        """The products take e4m3 on both sides."""
        kept, scales = keep_fp8(cast(plain, E5M2), torch.float32)
        assert not scales
        names = [f"{layer}.weight" for layer in quantizable(plain)]
        assert {kept[name].dtype for name in names} == {torch.float32}
        assert all(torch.equal(kept[name], plain[name].to(E5M2).float()) for name in names)


def test_module_of_an_fp8_file_computes_with_the_weights_it_stands_for(opened, plain):
    checkpoint = opened(scaled(plain))
    module = load_component(checkpoint, Component.TRANSFORMER, dtype=torch.float32)
    weights = dequantize(checkpoint.state_dict(Component.TRANSFORMER), torch.float32)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, weights[name].float())


UNSUPPORTED = {
    "nvfp4 without ComfyUI's mark": {
        "weight": torch.zeros(128, 64, dtype=torch.uint8),
        "weight_scale": torch.ones(128, 8).to(E4M3),
        "weight_scale_2": torch.tensor(1.0),
    },
    "svdquant_w4a4": {
        "weight": torch.zeros(128, 64, dtype=torch.int8),
        "comfy_quant": json_tensor({"format": "svdquant_w4a4"}),
    },
    "packed": {"weight": torch.zeros(128, 64, dtype=torch.uint8)},
}


@pytest.mark.parametrize("form", UNSUPPORTED)
def test_other_forms_are_refused_by_name(form, opened, plain):
    checkpoint = opened(plain | {f"{LAYER}.{part}": tensor for part, tensor in UNSUPPORTED[form].items()})
    found = quantization(checkpoint)
    assert form in found[LAYER].format
    for refuse in (
        lambda: check_supported(found, checkpoint.path),
        lambda: dequantize(checkpoint.state_dict(Component.TRANSFORMER), source=checkpoint.path),
        lambda: load_component(checkpoint, Component.TRANSFORMER),
    ):
        with pytest.raises(CheckpointError) as error:
            refuse()
        assert f"{checkpoint.path} stores {LAYER} as" in str(error.value)
        assert "Use the bf16 or the fp8 version" in str(error.value)


def tiled(scales: torch.Tensor) -> torch.Tensor:
    """Scales as NVIDIA describes their order: that of row r and column c lies in the tile (r // 128, c // 4), of 512
    numbers, at r % 32 * 16 + r % 128 // 32 * 4 + c % 4."""
    rows, columns = scales.shape
    wide, high = -(-columns // 4), -(-rows // 128)
    lying = scales.new_zeros(high * wide * 512)
    for r, c in itertools.product(range(rows), range(columns)):
        lying[(r // 128 * wide + c // 4) * 512 + r % 32 * 16 + r % 128 // 32 * 4 + c % 4] = scales[r, c]
    return lying.reshape(high * 128, wide * 4)


class TestPacked:
    """Written out by the formats' definitions; against ComfyUI's own arithmetic in check_quantised_files."""

    NUMBERS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])

    def nvfp4(self, rng: torch.Generator, rows: int, columns: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        codes = torch.randint(0, 16, (rows, columns), generator=rng)
        blocks = (torch.rand(rows, columns // 16, generator=rng) * 100 + 1).to(E4M3).float()
        exact = self.NUMBERS[codes] * (blocks * 0.001).repeat_interleave(16, 1)
        parts = {
            "weight": (codes[:, 0::2] * 16 + codes[:, 1::2]).to(torch.uint8),
            "weight_scale": tiled(blocks).to(E4M3),
            "weight_scale_2": torch.tensor(0.001),
        }
        return parts, exact

    def mxfp8(self, rng: torch.Generator, rows: int, columns: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        numbers = torch.randn(rows, columns, generator=rng).to(E4M3)
        exponents = torch.randint(110, 130, (rows, columns // 32), generator=rng)
        exact = numbers.float() * (2.0 ** (exponents - 127)).repeat_interleave(32, 1)
        return {"weight": numbers, "weight_scale": tiled(exponents).to(torch.uint8)}, exact

    @pytest.mark.parametrize(("format", "header"), [("nvfp4", True), ("nvfp4", False), ("mxfp8", True)])
    def test_block_formats(self, format, header, opened, plain, rng):
        """Found with the mark in the layer or in the header; padded tiles; scales of 160 rows lie in two tiles."""
        draw = getattr(self, format)
        gate = f"{LAYER[:-4]}to_gate_logits"  # 4 rows
        rows = {"nvfp4": 16, "mxfp8": 32}[format]
        state, exact = dict(plain), {}
        for layer, (high, wide) in {LAYER: (128, 128), gate: (rows, 128)}.items():
            parts, exact[layer] = draw(rng, high, wide)
            state |= {f"{layer}.{part}": tensor for part, tensor in parts.items()}
            if not header:
                state[f"{layer}.comfy_quant"] = json_tensor({"format": format})
        layers = {PREFIX + layer: {"format": format} for layer in exact}
        checkpoint = opened(state, **({"_quantization_metadata": json.dumps({"layers": layers})} if header else {}))
        assert {name: found.format for name, found in quantization(checkpoint).items()} == dict.fromkeys(exact, format)
        module = load_component(checkpoint, Component.TRANSFORMER, dtype=torch.float32)
        assert torch.equal(module.get_submodule(LAYER).weight, exact[LAYER])
        assert torch.equal(module.get_submodule(gate).weight, exact[gate][:4])
        shapes = weight_shapes(checkpoint, Component.TRANSFORMER)
        assert shapes[f"{LAYER}.weight"] == (128, 128) and shapes[f"{gate}.weight"] == (4, 128)
        tall, numbers = draw(rng, 160, 96)
        assert torch.equal(unpack(format, tall, {}), numbers)

    def test_kept(self, plain, rng):
        """Packed layers stay as they are; float8 ones beside them only where ComfyUI's layers are to compute them."""
        parts, _ = self.nvfp4(rng, 128, 128)
        state = scaled(plain, activation="input_scale")
        other = quantizable(plain)[0]
        state |= {f"{LAYER}.{part}": tensor for part, tensor in parts.items()}
        state |= {f"{LAYER}.comfy_quant": json_tensor({"format": "nvfp4"})}
        state |= {f"{other}.comfy_quant": json_tensor({"format": "float8_e4m3fn"})}
        kept, scales = keep_fp8(state)
        assert LAYER not in scales and other in scales and f"{other}.comfy_quant" not in kept
        marked = keep_marked(state, expand=(quantizable(plain)[1],))
        for found in (kept, marked):
            assert all(found[f"{LAYER}.{part}"] is state[f"{LAYER}.{part}"] for part in (*parts, "comfy_quant"))
        assert marked[f"{other}.weight"].dtype == E4M3 and f"{other}.weight_scale" in marked
        assert marked[f"{quantizable(plain)[1]}.weight"].dtype == torch.bfloat16
        without = {name: tensor for name, tensor in state.items() if not name.startswith(LAYER + ".")}
        assert all(t.dtype != E4M3 and t.dtype != torch.uint8 for t in keep_marked(without).values())


@pytest.mark.parametrize(
    "scale", [torch.ones(3), torch.ones(128, 4), torch.ones(1, dtype=torch.int32), torch.ones(1).to(E5M2)]
)
def test_scales_that_do_not_fit(scale):
    with pytest.raises(CheckpointError, match="a scale of type"):
        dequantize({"a.weight": torch.ones(128, 8).to(E4M3), "a.weight_scale": scale})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scales_that_are_not_finite(value):
    with pytest.raises(CheckpointError, match=r"scale of a\.weight in the file is not finite"):
        dequantize({"a.weight": torch.ones(2, 2).to(E4M3), "a.weight_scale": torch.tensor(value)})


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"layers": 3}', json.dumps({"layers": {PREFIX + LAYER: 3}}), "[" * 99999]
)
def test_broken_metadata(text, opened, plain):
    with pytest.raises(CheckpointError, match="quantisation metadata of .* cannot be read"):
        quantization(opened(plain, _quantization_metadata=text))


def test_broken_mark(opened, plain):
    checkpoint = opened(scaled(plain) | {f"{LAYER}.comfy_quant": torch.tensor([255, 0], dtype=torch.uint8)})
    with pytest.raises(CheckpointError, match="cannot be read"):
        quantization(checkpoint)
    with pytest.raises(CheckpointError, match="cannot be read"):
        dequantize(checkpoint.state_dict(Component.TRANSFORMER))
