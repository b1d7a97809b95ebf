"""LoRAs laid over plain PyTorch modules."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import lora_keys as keys
from ..errors import CheckpointError
from .file import LoRA
from .names import CONNECTORS


def lora_deltas(
    lora: LoRA, strength: float = 1.0, device: torch.device | str | None = None
) -> Iterator[tuple[str, Tensor]]:
    """(name of the weight, strength * scale * B @ A in float32) for one layer after another."""
    for name, (down, up, scale) in lora.factors().items():
        yield f"{name}.weight", _product(down, up, strength * scale, device)


@contextmanager
def fused(module: nn.Module, loras: Sequence[tuple[LoRA, float]], below: str = "") -> Iterator[nn.Module]:
    """While entered, `module` has the weights of all LoRAs at their strengths; afterwards its own again, bit for bit.

    `below`: which layers of the LoRAs are the module's, one of `names.CONNECTORS`, or all others.

    The sum is made in float32 and rounded once.  A strength of 0 leaves everything untouched.  The original weights are
    kept in host memory, not computed back: a model on a GPU takes no more of its memory.  VariantError if a LoRA does
    not fit; CheckpointError if a weight is float8 (dequantize first), or a layer's change is neither a product nor a
    difference.
    """
    weights = dict(module.named_parameters())
    shapes = {below + name: weight.shape for name, weight in weights.items()}
    changes: dict[str, list[tuple[Change, float]]] = {}
    for lora, strength in loras:
        own = [name for name in lora.layers if _owner(name) == below]
        for key, change in _changes(lora.only(own).fitted(shapes)) if own and strength != 0 else ():
            changes.setdefault(key.removeprefix(below), []).append((change, strength))
    originals: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for key, found in changes.items():
                if weights[key].dtype.itemsize == 1:
                    raise CheckpointError(
                        f"Cannot add a LoRA to {key}, which is stored as {weights[key].dtype}; expected bf16 or "
                        "float32. Dequantize the weights first."
                    )
                originals[key] = weights[key].data.cpu()
                weights[key].data = _sum(weights[key], found)
        yield module
    finally:
        for name, original in originals.items():
            weights[name].data = original.to(weights[name].device)


# B and A of a product, or a difference and None; and the scale.
Change = tuple[Tensor, Tensor | None, float]


def _owner(layer: str) -> str:
    return next((connector for connector in CONNECTORS if layer.startswith(connector)), "")


def _changes(lora: LoRA) -> Iterator[tuple[str, Change]]:
    """(name of the parameter, change) of a LoRA that fits."""
    tensors, scales = lora.checked(), lora.scales()
    for name, layer in lora.layers.items():
        weight = f"{name}.weight"
        if layer.is_pair:
            yield weight, (tensors[layer.up].flatten(1), tensors[layer.down].flatten(1), scales[name])
        elif keys.DIFFERENCE in layer.parts and layer.form == "difference":
            yield weight, (tensors[layer.parts[keys.DIFFERENCE]], None, 1.0)
        elif layer.shape is not None:
            raise CheckpointError(
                f"{lora.path} changes {name} by {layer.kind}, which is computed by ComfyUI only: use the node LTX LoRA "
                "Loader."
            )
        for part, scale in ((keys.BIAS_DIFFERENCE, 1.0), (keys.UP_BIAS, scales[name])):
            if part in layer.parts:
                yield f"{name}.bias", (tensors[layer.parts[part]], None, scale)


def _sum(weight: Tensor, found: Sequence[tuple[Change, float]]) -> Tensor:
    """The weight with each change at its strength: a function of its own, so that the float32 sum goes."""
    total = weight.float()
    for (change, down, scale), strength in found:
        if down is None:
            total = total + change.to(weight.device, torch.float32) * (strength * scale)
        else:
            total = total + _product(down, change, strength * scale, weight.device)
    return total.to(weight.dtype)


def _product(down: Tensor, up: Tensor, strength: float, device: torch.device | str | None) -> Tensor:
    return (up.to(device, torch.float32) * strength) @ down.to(device, torch.float32)
