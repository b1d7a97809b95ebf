"""fp8 files in every form through the loader node: the model computes with the weights that they stand for."""

import json

import pytest
import torch
from torch import Tensor

from ltx_duo.nodes.comfyui import files
from ltx_duo.tests.nodes.trees.wide_model import PREFIX, WideModel, draw_velocities

E4M3 = torch.float8_e4m3fn
LIMIT = torch.finfo(E4M3).max
Tensors = dict[str, Tensor]


class Quantised:
    """bfloat16 weights, and those of a random half of the layers in fp8; `plain` is what the layers stand for."""

    def __init__(self, model: WideModel, seed: int):
        self.model = model
        self.weights = {name: tensor.bfloat16() for name, tensor in model.weights.items()}
        chosen = torch.rand(len(model.layers), generator=torch.Generator().manual_seed(seed)) < 0.5
        self.layers = [layer for layer, choose in zip(model.layers, chosen.tolist(), strict=True) if choose]

    def scaled(self, weight="weight_scale", activation="input_scale") -> tuple[Tensors, Tensors]:
        """One scale a layer, which brings its largest weight to e4m3's end; expanded in float32."""
        stored, plain = dict(self.weights), dict(self.weights)
        for layer in self.layers:
            name = f"{layer}.weight"
            full = self.weights[name].float()
            scale = full.abs().max() / LIMIT
            stored[name] = (full / scale).clamp(-LIMIT, LIMIT).to(E4M3)
            plain[name] = stored[name].float() * scale
            stored |= {f"{layer}.{weight}": scale, f"{layer}.{activation}": torch.tensor(0.01)}
        return stored, plain

    def cast(self) -> tuple[Tensors, Tensors]:
        """Weights and biases inside the blocks as e4m3 without a scale."""
        stored = dict(self.weights)
        for layer in self.layers:
            if layer.startswith("transformer_blocks."):
                stored |= {f"{layer}.{part}": stored[f"{layer}.{part}"].to(E4M3) for part in ("weight", "bias")}
        return stored, {name: tensor.float() for name, tensor in stored.items()}

    def marks(self) -> Tensors:
        """ComfyUI's mark in each layer."""
        text = json.dumps({"format": "float8_e4m3fn"}).encode()
        return {f"{layer}.comfy_quant": torch.tensor(list(text), dtype=torch.uint8) for layer in self.layers}

    def metadata(self) -> dict[str, str]:
        layers = {PREFIX + layer: {"format": "float8_e4m3fn"} for layer in self.layers}
        return {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}


def _older(q: Quantised) -> tuple[Tensors, Tensors]:
    stored, plain = q.scaled("scale_weight", "scale_input")
    return stored | {"scaled_fp8": torch.zeros(2).to(E4M3)}, plain


def _marked(q: Quantised) -> tuple[Tensors, Tensors]:
    stored, plain = q.scaled()
    return stored | q.marks(), plain


FORMS = {
    "official scaled": lambda q: (*q.scaled(), {}),
    "plain e4m3": lambda q: (*q.cast(), {}),
    "ComfyUI's metadata": lambda q: (*q.scaled(), q.metadata()),
    "ComfyUI's marks": lambda q: (*_marked(q), {}),
    "older ComfyUI": lambda q: (*_older(q), {}),
}


STREAMED = [("official scaled", "streamed"), ("plain e4m3", "streamed")]


@pytest.fixture(scope="module")
def seed() -> int:
    return torch.seed() % 2**31


@pytest.fixture(scope="module")
def quantised(seed) -> Quantised:
    return Quantised(WideModel.draw(seed), seed)


@pytest.mark.parametrize(("form", "how"), [*((form, "loaded") for form in FORMS), *STREAMED])
def test_model_of_an_fp8_file(form, how, quantised, seed, run, monkeypatch, tmp_path, streaming, measured):
    stored, plain, metadata = FORMS[form](quantised)
    quantised.model.write(tmp_path / "fp8.safetensors", stored, **metadata)
    monkeypatch.setattr(files, "path", lambda name, _folders: str(tmp_path / name))
    if how == "streamed":
        streaming()
    model = run("ModelLoader", checkpoint="fp8.safetensors", weight_dtype="auto")
    velocities = draw_velocities(seed)
    ours = velocities(model.stage(1).load().transformer)
    unquantised = velocities(quantised.model.exact(quantised.weights))
    for name, one, other, full in zip(
        ("video", "audio"), ours, velocities(quantised.model.exact(plain)), unquantised, strict=True
    ):
        assert (other - full).abs().max() > 1e-3 * full.abs().max(), "fp8 changes nothing: the case is empty"
        measured(f"fp8 file, {form}, {how}: {name}", "its weights expanded", one, other, 1e-5)
