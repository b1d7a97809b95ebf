"""Files with weights in fewer bits: what form they have, and back to plain weights.

Three forms are read, each layer for itself: a float8 weight with a scale beside it (`weight_scale` in the official -fp8
files, `scale_weight` in older ComfyUI files), a float8 tensor without any scale (plainly cast), and either of them as
ComfyUI's metadata names it.  The weight is its float8 number times the scale.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint import Checkpoint, Component
from .errors import CheckpointError
from .gguf_blocks import BLOCK_TYPES
from .gguf_file import OTHER_BLOCKS, PackedInfo

_SCALES = ("weight_scale", "scale_weight")
_INPUT_SCALES = ("input_scale", "scale_input")
_COMFY_LAYER = "comfy_quant"  # JSON text as uint8, one a layer
_COMFY_FILE = "scaled_fp8"  # one for the whole model
_COMFY_METADATA = "_quantization_metadata"
_FP8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
_FP8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class LayerQuantization:
    """How one layer is stored: `format` as ComfyUI names it, and which scales lie beside the weight."""

    format: str
    scaled: bool
    input_scaled: bool


def quantization(checkpoint: Checkpoint, component: Component = Component.TRANSFORMER) -> dict[str, LayerQuantization]:
    """Layers of `component` that are not stored as plain numbers, by module name; empty for a plain file.

    Discovered from dtypes, scales and ComfyUI's metadata.  CheckpointError when that metadata cannot be read.
    """
    tensors = checkpoint.tensors(component)
    formats: dict[str, str] = {}
    for name, info in tensors.items():
        layer, _, last = name.rpartition(".")
        if isinstance(info, PackedInfo):
            formats[layer if last == "weight" else name] = info.format
        elif info.dtype in _FP8 and last == "weight":
            formats.setdefault(layer, _FP8[info.dtype])
        elif last == "weight_scale_2":
            formats[layer] = "nvfp4"
        elif info.dtype in ("U8", "I8", "F4") and last == "weight":
            formats.setdefault(layer, f"packed {info.dtype}")
    for layer, text in _comfy_layers(checkpoint, component).items():
        if f"{layer}.weight" in tensors:
            formats[layer] = text
    return {
        layer: LayerQuantization(
            formats[layer],
            any(f"{layer}.{scale}" in tensors for scale in _SCALES),
            any(f"{layer}.{scale}" in tensors for scale in _INPUT_SCALES),
        )
        for layer in sorted(formats)
    }


def check_supported(layers: Mapping[str, LayerQuantization], source: object) -> None:
    """CheckpointError if neither `dequantize` nor `gguf_weights` can read one of the layers."""
    for layer, found in layers.items():
        if found.format not in (*_FP8.values(), *BLOCK_TYPES):
            raise _unsupported(layer, found.format, source)


def dequantize(
    state_dict: Mapping[str, Tensor], dtype: torch.dtype = torch.bfloat16, *, source: object = "the file"
) -> dict[str, Tensor]:
    """A state dict of plain weights: float8 tensors become `dtype`, scaled ones through float32; others stay.

    Scales and marks of quantisation are left out.  CheckpointError for other forms (nvfp4, int8) and for scales that do
    not fit or are not finite.
    """
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if last == _COMFY_LAYER and (found := _format(tensor.cpu().numpy().tobytes(), source)) not in _FP8.values():
            raise _unsupported(layer, found, source)
    plain: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if last in (*_SCALES, *_INPUT_SCALES, _COMFY_LAYER) or name == _COMFY_FILE:
            continue
        if last == "weight_scale_2":
            raise _unsupported(layer, "nvfp4", source)
        if last == "weight" and tensor.dtype in (torch.uint8, torch.int8):
            raise _unsupported(layer, f"packed {tensor.dtype}", source)
        scale = next((state_dict[key] for s in _SCALES if (key := f"{layer}.{s}") in state_dict), None)
        if last == "weight" and scale is not None:
            target = dtype if tensor.dtype in _FP8_DTYPES else tensor.dtype
            plain[name] = (tensor.float() * _factor(name, tensor, scale, source)).to(target)
        else:
            plain[name] = tensor.to(dtype) if tensor.dtype in _FP8_DTYPES else tensor
    return plain


def keep_fp8(
    state_dict: Mapping[str, Tensor], dtype: torch.dtype = torch.bfloat16, *, source: object = "the file"
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """As `dequantize`, but e4m3 weights stay as they are where one number scales them: (weights, scale by layer).

    The scales that files carry for the layers' inputs are not used: rows are scaled by their own size.
    """
    kept: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if last != "weight" or tensor.dtype != torch.float8_e4m3fn or tensor.ndim != 2:
            continue
        scale = next((state_dict[key] for s in _SCALES if (key := f"{layer}.{s}") in state_dict), None)
        factor = torch.ones(()) if scale is None else _factor(name, tensor, scale, source)
        if factor.ndim == 0:
            kept[name], scales[layer] = tensor, factor.item()
    beside = (*_SCALES, *_INPUT_SCALES)
    rest = {
        name: tensor
        for name, tensor in state_dict.items()
        if name not in kept and not (name.rpartition(".")[0] in scales and name.rpartition(".")[2] in beside)
    }
    return {**dequantize(rest, dtype, source=source), **kept}, scales


def _factor(name: str, weight: Tensor, scale: Tensor, source: object) -> Tensor:
    """The scale in float32 in a shape to multiply with: one number, or one for each row."""
    rows = weight.shape[0] if weight.ndim else 1
    if not scale.is_floating_point() or scale.numel() not in (1, rows) or scale.dtype.itemsize == 1:
        raise _unsupported(name, f"a scale of type {scale.dtype} and shape {tuple(scale.shape)}", source)
    factor = scale.float()
    if not scale.is_meta and not torch.isfinite(factor).all():
        raise CheckpointError(f"The scale of {name} in {source} is not finite. The file is damaged: download it again.")
    if factor.numel() == 1:
        return factor.reshape(())
    return factor.reshape(rows, *[1] * (weight.ndim - 1))


def _comfy_layers(checkpoint: Checkpoint, component: Component) -> dict[str, str]:
    """Formats that ComfyUI's metadata gives, by module name."""
    keys = checkpoint.key_maps.get(component, {})
    marks = {key: name for key, name in keys.items() if name.endswith("." + _COMFY_LAYER)}
    formats = {}
    for file in checkpoint.files:
        for key, tensor in file.read([key for key in marks if key in file.tensors]).items():
            formats[marks[key].removesuffix("." + _COMFY_LAYER)] = _format(tensor.numpy().tobytes(), checkpoint.path)
    if _COMFY_METADATA not in checkpoint.metadata:
        return formats
    layers = _json(checkpoint.metadata[_COMFY_METADATA], checkpoint.path).get("layers")
    if not isinstance(layers, dict):
        raise _unreadable(checkpoint.path, "it has no 'layers'")
    modules = {key.removesuffix(".weight"): name.removesuffix(".weight") for key, name in keys.items()}
    for layer, entry in layers.items():
        # Layers go by their name in the file or, where a converter dropped the prefix, in the module.
        formats[modules.get(layer, layer)] = _entry_format(entry, checkpoint.path)
    return formats


def _format(text: bytes, source: object) -> str:
    return _entry_format(_json(text, source), source)


def _json(text: str | bytes, source: object) -> dict:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(source, str(error)) from None
    if not isinstance(value, dict):
        raise _unreadable(source, "it is not a JSON table")
    return value


def _entry_format(entry: object, source: object) -> str:
    found = entry.get("format") if isinstance(entry, dict) else None
    if not isinstance(found, str):
        raise _unreadable(source, "a layer has no 'format'")
    return found


def _unreadable(source: object, why: str) -> CheckpointError:
    return CheckpointError(
        f"The quantisation metadata of {source} cannot be read: {why}; expected ComfyUI's JSON form. Download the file "
        "again, or use the bf16 version."
    )


def _unsupported(layer: str, found: str, source: object) -> CheckpointError:
    if found.startswith(OTHER_BLOCKS):
        return CheckpointError(
            f"{source} stores {layer} as {found}, which LTX Duo does not support; of GGUF files it reads F32, F16, "
            f"BF16, {', '.join(BLOCK_TYPES)}. Use one of these versions of the model."
        )
    return CheckpointError(
        f"{source} stores {layer} as {found}, which LTX Duo does not support; it reads bf16, float32 and fp8 (e4m3, "
        "e5m2; plain or scaled). Use the bf16 or the fp8 version of the model."
    )
