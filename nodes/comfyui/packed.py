"""Layers whose weights stay packed (nvfp4, mxfp8, int8): ComfyUI's own quantised layers.

Where the device multiplies in the format they do so as in ComfyUI's own models, inputs included; elsewhere, and in the
text encoder, they expand the weight each time it is used.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache

import comfy.model_management as mm
import comfy.ops
import torch
from torch import Tensor, nn

from ...ltx_core.errors import CheckpointError
from ...ltx_core.quantization import LayerQuantization
from . import compat

# The first ComfyUI that is known to have all of them.
SINCE = "0.30"
# Bytes for each number of a weight while it is expanded: the most that comfy_kitchen's plain kernels hold at once.
EXPANDING = 10
MARK = ".comfy_quant"


def check_available(layers: Mapping[str, LayerQuantization], source: object) -> None:
    """CheckpointError if this ComfyUI has no layers for one of the packed formats."""
    known = compat.quantised_formats()
    for layer, found in layers.items():
        if found.packed and found.format not in known:
            raise CheckpointError(
                f"{source} stores {layer} as {found.format}, which this ComfyUI cannot compute with: it needs ComfyUI "
                f"{SINCE} or newer. Update ComfyUI, or use the bf16 or the fp8 version of the model."
            )


def marked_layers(names: Iterable[str]) -> list[str]:
    """The layers of a state dict that carry ComfyUI's mark, which its own layers are to compute."""
    return [name.removesuffix(MARK) for name in names if name.endswith(MARK)]


def put_in(engine: nn.Module, names: Collection[str], compute_dtype: torch.dtype) -> None:
    """Puts ComfyUI's quantised layers in the place of linear layers, those marked among the `names` of a state dict."""
    kind = _layer_class(compute_dtype)
    for name in marked_layers(names):
        parent, _, child = name.rpartition(".")
        old = engine.get_submodule(name)
        # Not on the meta device: what is loaded would be moved there.  With dynamic VRAM the old one has no bias yet.
        bias = f"{name}.bias" in names
        new = kind(old.in_features, old.out_features, bias=bias, device="cpu", dtype=compute_dtype)
        setattr(engine.get_submodule(parent), child, new)


def choose_products(engine: nn.Module, device: torch.device, expand: bool) -> None:
    """Has the layers multiply in their format where `device` can, unless all are to `expand`."""
    for layer in packed_layers(engine):
        if expand or not _multiplies(layer.quant_format, device):
            layer._full_precision_mm = True


def packed_layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, _Packed)]


def expanding_bytes(module: nn.Module) -> float:
    """What expanding the largest packed weight takes beside it, in bytes; 0 without packed weights."""
    return EXPANDING * max((layer.in_features * layer.out_features for layer in packed_layers(module)), default=0)


class _Packed:
    """Mixed into ComfyUI's mixed-precision Linear."""

    def fixed_weights(self) -> None:
        """A recording would keep every expanded weight."""

    def forward_comfy_cast_weights(self, input: Tensor, compute_dtype: torch.dtype | None = None, **how) -> Tensor:
        # A LoRA that is laid over a streamed weight is rounded as it is over one that stays: the same numbers however
        # much is streamed.
        return super().forward_comfy_cast_weights(input, compute_dtype, **{**how, "want_requant": True})

    def _forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._full_precision_mm and isinstance(weight, comfy.ops.QuantizedTensor):
            # Some formats multiply in theirs, with a rounded input, as long as the weight is packed.
            weight = weight.dequantize().to(input.dtype)
        return super()._forward(input, weight, bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # ComfyUI's makes a new parameter of each, with a copy of its scales, also of what stays where it is.
        for name, parameter in self._parameters.items():
            if parameter is not None and (moved := fn(parameter)) is not parameter:
                self._parameters[name] = nn.Parameter(moved, requires_grad=False)
        return self


@cache
def _layer_class(compute_dtype: torch.dtype) -> type[nn.Module]:
    linear = comfy.ops.mixed_precision_ops({}, compute_dtype).Linear
    return type("PackedLinear", (_Packed, linear), {"__module__": __name__})


def _multiplies(format: str, device: torch.device) -> bool:
    if mm.is_device_cpu(device):
        return False
    if format == "int8_tensorwise":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (7, 5)
    asked = {"nvfp4": "supports_nvfp4_compute", "mxfp8": "supports_mxfp8_compute"}.get(format, "")
    return bool(getattr(mm, asked, lambda _: False)(device))
