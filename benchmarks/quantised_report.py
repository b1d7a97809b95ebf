"""What `quantised_files.py` measures of a component, and what of it is wrong."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

GIB = 2**30
# A LoRA changes the result by more.
EFFECT = 0.1


@dataclass(frozen=True)
class Bounds:
    """Of a result: the largest difference from plain weights, of the whole result, and bits a packed weight."""

    error: float
    bits: float


class Report:
    """Figures of one component, and what of them is wrong."""

    def __init__(self, name: str, component, layers: dict, seconds: float, bounds: Bounds):
        packed = packed_layers(component.module)
        weights = sum(layer.in_features * layer.out_features for layer in packed)
        bits = 8 * sum(held_bytes(layer.weight) for layer in packed) / max(weights, 1)
        self.figures = {
            "what": name, "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
            "packed layers": len(packed), "bits a packed weight": round(bits, 2),
            "GiB": round(component.size() / GIB, 2), "seconds to open": round(seconds, 2), "wrong": [],
        }  # fmt: skip
        self.bar, self.wrong = bounds.error, self.figures["wrong"]
        if len(packed) != (count := len(layers)) or not packed:
            self.wrong.append(f"{name}: {len(packed)} layers are packed, of {count} in the file")
        if bits > bounds.bits:
            self.wrong.append(f"{name}: packed layers take {bits:.2f} bits a weight")

    def run(self, name: str, call: Callable):
        """Results on the CPU; seconds of the second call, and the peak beside what was allocated before."""
        call()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        result, seconds = timed(call)
        self.figures[f"{name}, seconds"] = round(seconds, 3)
        if torch.cuda.is_available():
            self.figures[f"{name}, peak GiB"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
        return [tensor.cpu() for tensor in result]

    def compare(self, name: str, ours, theirs) -> None:
        error = max(distance(one, other.cpu()) for one, other in zip(ours, theirs, strict=True))
        self.figures[f"{name}, error"] = error
        if not error < self.bar:  # NaN too
            self.wrong.append(f"{self.figures['what']}, {name}: differs by {error:.3g} from plain weights")
        print(json.dumps(self.figures), flush=True)

    def differ(self, name: str, one, other) -> None:
        if not (effect := distance(one[0], other[0])) > EFFECT:
            self.wrong.append(f"{self.figures['what']}: the {name} changes the result by {effect:.3g} only")


def packed_layers(module: nn.Module) -> list[nn.Module]:
    """Those with ComfyUI's packed weights, or with GGUF's."""
    from ltx_duo.nodes.comfyui import packed

    return packed.packed_layers(module) + [m for m in module.modules() if getattr(m, "block_type", None)]


def held_bytes(weight: Tensor) -> int:
    parts = weight.state_dict().values() if hasattr(weight, "state_dict") else [weight]
    return sum(part.nbytes for part in parts)


def distance(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return ((one - other).norm() / other.norm()).item()


def timed(call: Callable):
    begin = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - begin
