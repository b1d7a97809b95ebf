"""Files with weights in fewer bits: what form they have, and back to plain weights.

Forms are read each layer for itself: a float8 weight with a scale beside it (`weight_scale` in the official -fp8 files,
`scale_weight` in older ComfyUI files), a float8 tensor without any scale (plainly cast), either of them as ComfyUI's
metadata names it, and ComfyUI's packed formats (see `packed_weights`).  A float8 weight is its number times the scale.
Packed layers are only read with ComfyUI's mark: other tools write the same dtypes and shapes in another order.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from .checkpoint import Checkpoint, Component
from .errors import CheckpointError
from .gguf_blocks import BLOCK_TYPES
from .gguf_file import OTHER_BLOCKS, PackedInfo
from .packed_weights import PACKED, stores, unpack, unpacked_shape, unreadable

_SCALES = ("weight_scale", "scale_weight")
_INPUT_SCALES = ("input_scale", "scale_input")
_COMFY_LAYER = "comfy_quant"  # JSON text as uint8, one a layer
_COMFY_FILE = "scaled_fp8"  # one for the whole model
_COMFY_METADATA = "_quantization_metadata"
# What may lie beside a quantised weight, and what of it a packed weight is made of.
_BESIDE = (*_SCALES, "weight_scale_2", *_INPUT_SCALES, _COMFY_LAYER)
_PARTS = ("weight", "weight_scale", "weight_scale_2", "pre_quant_scale")
_OTHER_TOOLS = ("qweight", "weight_packed")  # what SVDQuant and compressed-tensors call a weight
_FP8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
_FP8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class LayerQuantization:
    """How one layer is stored: `format` as ComfyUI names it, and which scales lie beside the weight.

    `mark` is ComfyUI's JSON table of the layer, as text; empty where the file has none.
    """

    format: str
    scaled: bool
    input_scaled: bool
    mark: str = field(default="", compare=False)

    @property
    def packed(self) -> bool:
        """Whether the weight has another form than its matrix, which `packed_weights` knows."""
        return self.format in PACKED


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
            formats[layer] = "nvfp4 without ComfyUI's mark"
        elif last in _OTHER_TOOLS or (info.dtype in ("U8", "I8", "F4") and last == "weight"):
            formats.setdefault(layer, f"packed {info.dtype}")
    marks = {}
    layers = {name.rpartition(".")[0] for name in tensors}
    for layer, entry in _comfy_layers(checkpoint, component).items():
        if layer in layers:
            formats[layer], marks[layer] = _entry_format(entry, checkpoint.path), json.dumps(entry)
    return {
        layer: LayerQuantization(
            formats[layer],
            any(f"{layer}.{scale}" in tensors for scale in _SCALES),
            any(f"{layer}.{scale}" in tensors for scale in _INPUT_SCALES),
            marks.get(layer, ""),
        )
        for layer in sorted(formats)
    }


def marked_state(
    checkpoint: Checkpoint, component: Component, tensors: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """`checkpoint.state_dict`, in which every packed layer has ComfyUI's mark beside it: some files have one table."""
    marks = {
        f"{layer}.{_COMFY_LAYER}": torch.frombuffer(bytearray(found.mark.encode()), dtype=torch.uint8)
        for layer, found in quantization(checkpoint, component).items()
        if found.packed
    }
    return {**checkpoint.state_dict(component, tensors), **marks}


def plain_shapes(
    checkpoint: Checkpoint, component: Component, expected: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> dict[str, tuple[int, ...]]:
    """Shapes of a component's tensors by module name, as they are once they are expanded; by the header alone.

    What lies beside quantised weights is left out.  Padding is left off where the `expected` shape or the layer's bias
    tells how much it is.  CheckpointError if a layer has a form, or scales, that cannot be read.
    """
    tensors = checkpoint.tensors(component)
    layers = quantization(checkpoint, component)
    check_supported(layers, checkpoint.path)
    shapes = {
        name: info.shape
        for name, info in tensors.items()
        if name in expected or (name.rpartition(".")[2] not in _BESIDE and name != _COMFY_FILE)
    }
    for layer, found in layers.items():
        if not found.packed:
            continue
        parts = {part: tensors[name] for part in _PARTS if (name := f"{layer}.{part}") in tensors}
        if "weight" not in parts or (problem := unreadable(found.format, parts, json.loads(found.mark))):
            problem = "without a weight" if "weight" not in parts else problem
            raise _unsupported(layer, f"{found.format} {problem}", checkpoint.path)
        name, stored = f"{layer}.weight", parts["weight"].shape
        shape = unpacked_shape(found.format, stored)
        bias = tensors.get(f"{layer}.bias")
        wanted = expected.get(name) or ((*bias.shape, shape[1]) if bias is not None else shape)
        shapes[name] = tuple(wanted) if stores(found.format, stored, tuple(wanted)) else shape
    return shapes


def check_supported(layers: Mapping[str, LayerQuantization], source: object) -> None:
    """CheckpointError if neither `dequantize` nor `gguf_weights` can read one of the layers."""
    for layer, found in layers.items():
        if found.format not in (*_FP8.values(), *BLOCK_TYPES, *PACKED):
            raise _unsupported(layer, found.format, source)


def dequantize(
    state_dict: Mapping[str, Tensor],
    dtype: torch.dtype = torch.bfloat16,
    *,
    source: object = "the file",
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """A state dict of plain weights: float8 and packed ones become `dtype`, through float32 with their scales; others
    stay.

    Packed weights are told by ComfyUI's marks (see `marked_state`), and cut to `shapes`.  Scales and marks are left
    out.  CheckpointError for other forms, and for scales that do not fit or are not finite.
    """
    packed = {layer: entry for layer, entry in _marks(state_dict, source).items() if entry["format"] in PACKED}
    plain: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if layer in packed and last == "weight":
            parts = {part: state_dict[key] for part in _PARTS if (key := f"{layer}.{part}") in state_dict}
            matrix = unpack(packed[layer]["format"], parts, packed[layer])
            rows, columns = shapes.get(name, matrix.shape)
            plain[name] = matrix[:rows, :columns].to(dtype)
            continue
        if last in (*_SCALES, *_INPUT_SCALES, _COMFY_LAYER) or name == _COMFY_FILE:
            continue
        if last == "weight_scale_2":
            if layer in packed:
                continue
            raise _unsupported(layer, "nvfp4 without ComfyUI's mark", source)
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

    So do packed weights, with their scales and marks.  The scales that files carry for the inputs of float8 layers are
    not used: rows are scaled by their own size.
    """
    packed = {layer for layer, entry in _marks(state_dict, source).items() if entry["format"] in PACKED}
    kept: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if last != "weight" or tensor.dtype != torch.float8_e4m3fn or tensor.ndim != 2 or layer in packed:
            continue
        scale = next((state_dict[key] for s in _SCALES if (key := f"{layer}.{s}") in state_dict), None)
        factor = torch.ones(()) if scale is None else _factor(name, tensor, scale, source)
        if factor.ndim == 0:
            kept[name], scales[layer] = tensor, factor.item()
    rest = {
        name: tensor
        for name, tensor in state_dict.items()
        if name not in kept and not (name.rpartition(".")[0] in scales and name.rpartition(".")[2] in _BESIDE)
    }
    return {**_expand_others(rest, packed, dtype, source), **kept}, scales


def keep_marked(
    state_dict: Mapping[str, Tensor],
    dtype: torch.dtype = torch.bfloat16,
    *,
    source: object = "the file",
    expand: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """As `dequantize`, but of a state dict with packed weights those stay, with scales and marks, and the float8 ones
    that ComfyUI marked; not the layers in `expand`."""
    marks = {layer: entry["format"] for layer, entry in _marks(state_dict, source).items() if layer not in expand}
    kept = {layer for layer, format in marks.items() if format in PACKED}
    for layer, format in marks.items() if kept else ():
        # The one form of float8 that ComfyUI's layers read.
        if format in _FP8.values() and (scale := state_dict.get(f"{layer}.weight_scale")) is not None:
            kept |= {layer} if scale.numel() == 1 else set()
    return _expand_others(state_dict, kept, dtype, source)


def _expand_others(
    state_dict: Mapping[str, Tensor], kept: Set[str], dtype: torch.dtype, source: object
) -> dict[str, Tensor]:
    """Plain weights, and the layers in `kept` with what lies beside their weights."""
    as_they_are = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        # Nothing reads the scale of an int8 layer's input.
        unread = last in _INPUT_SCALES and state_dict[f"{layer}.weight"].dtype == torch.int8
        if layer in kept and last in ("weight", *_BESIDE) and not unread:
            as_they_are[name] = tensor
    rest = {name: tensor for name, tensor in state_dict.items() if name not in as_they_are}
    return {**dequantize(rest, dtype, source=source), **as_they_are}


def _marks(state_dict: Mapping[str, Tensor], source: object) -> dict[str, dict]:
    """ComfyUI's table of each layer that is marked; CheckpointError if one has a form that is not known."""
    marks = {}
    for name, tensor in state_dict.items():
        layer, _, last = name.rpartition(".")
        if last != _COMFY_LAYER:
            continue
        entry = _json(tensor.cpu().numpy().tobytes(), source)
        if (found := _entry_format(entry, source)) not in (*_FP8.values(), *PACKED):
            raise _unsupported(layer, found, source)
        marks[layer] = entry
    return marks


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


def _comfy_layers(checkpoint: Checkpoint, component: Component) -> dict[str, object]:
    """What ComfyUI's metadata says of each layer, by module name."""
    keys = checkpoint.key_maps.get(component, {})
    marks = {key: name for key, name in keys.items() if name.endswith("." + _COMFY_LAYER)}
    entries: dict[str, object] = {}
    for file in checkpoint.files:
        for key, tensor in file.read([key for key in marks if key in file.tensors]).items():
            entries[marks[key].removesuffix("." + _COMFY_LAYER)] = _json(tensor.numpy().tobytes(), checkpoint.path)
    if _COMFY_METADATA not in checkpoint.metadata:
        return entries
    layers = _json(checkpoint.metadata[_COMFY_METADATA], checkpoint.path).get("layers")
    if not isinstance(layers, dict):
        raise _unreadable(checkpoint.path, "it has no 'layers'")
    modules = {key.removesuffix(".weight"): name.removesuffix(".weight") for key, name in keys.items()}
    for layer, entry in layers.items():
        # Layers go by their name in the file or, where a converter dropped the prefix, in the module.
        entries[modules.get(layer, layer)] = entry
    return entries


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
        f"The quantisation metadata of {source} cannot be read: {why}; expected ComfyUI's JSON form. Use a file that "
        "ComfyUI can read, or the bf16 version."
    )


def _unsupported(layer: str, found: str, source: object) -> CheckpointError:
    if found.startswith(OTHER_BLOCKS):
        return CheckpointError(
            f"{source} stores {layer} as {found}, which LTX Duo does not support; of GGUF files it reads F32, F16, "
            f"BF16, {', '.join(BLOCK_TYPES)}. Use one of these versions of the model."
        )
    return CheckpointError(
        f"{source} stores {layer} as {found}, which LTX Duo does not support; it reads bf16, float32, fp8 (e4m3, e5m2; "
        f"plain or scaled) and ComfyUI's {', '.join(PACKED)}. Use the bf16 or the fp8 version of the model."
    )
