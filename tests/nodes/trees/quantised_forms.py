"""Layers in ComfyUI's packed formats and in fp8, as its own quantisation stores them."""

import json
from dataclasses import dataclass

import comfy.ops
import pytest
import torch
from torch import Tensor

from ltx_duo.nodes.comfyui import compat

needs_layers = pytest.mark.skipif(
    "nvfp4" not in compat.quantised_formats(), reason="this ComfyUI has no such layers: refusals are tested"
)
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Form:
    """How layers are stored: ComfyUI's name of the format, what its quantisation is told, and the layer's mark."""

    format: str
    bits: float  # a weight, with its scales
    how: dict
    mark: dict

    def store(self, name: str, weight: Tensor) -> tuple[Tensors, Tensor]:
        """The tensors of a layer, and the float32 weight that they stand for."""
        layout = comfy.ops.QUANT_ALGOS[self.format]["comfy_tensor_layout"]
        stored = comfy.ops.QuantizedTensor.from_float(weight.float(), layout, **self.how)
        tensors = {key: tensor.contiguous() for key, tensor in stored.state_dict(f"{name}.weight").items()}
        # As files have them: safetensors knows e8m0 only since late.
        tensors = {k: t.view(torch.uint8) if t.dtype == torch.float8_e8m0fnu else t for k, t in tensors.items()}
        return tensors, stored.dequantize().contiguous()


FORMS = {
    "nvfp4": Form("nvfp4", 4.5, {}, {}),
    "mxfp8": Form("mxfp8", 8.25, {}, {}),
    "int8": Form("int8_tensorwise", 8, {}, {}),
    "int8 rows": Form("int8_tensorwise", 8, {"per_channel": True}, {}),
    "int8 convrot": Form(
        "int8_tensorwise", 8, {"per_channel": True, "convrot": True, "convrot_groupsize": 16},
        {"convrot": True, "convrot_groupsize": 16},
    ),
}  # fmt: skip
FP8 = Form("float8_e4m3fn", 8, {"scale": "recalculate"}, {})


def json_tensor(value: object) -> Tensor:
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
