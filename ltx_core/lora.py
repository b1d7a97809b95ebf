"""LoRA files: what they change, whether they fit a model, and their effect on plain PyTorch modules.

A layer's weight W becomes W + strength * scale * B @ A, where scale is 1, or alpha / rank in files with an alpha.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import CheckpointError, VariantError
from .generation import Generation, generation_of_version, named_generation, version_tuple
from .safetensors_file import SafetensorsFile, TensorInfo
from .weights import check_finite, check_written

_DOWN = (".lora_A.weight", ".lora_down.weight")
_UP = (".lora_B.weight", ".lora_up.weight")
_ALPHA = ".alpha"
_NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_ALPHAS = (*_NUMBERS, "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")
# Metadata of IC-LoRAs: how much smaller, and how much slower, the reference video is.
_REFERENCE = ("reference_downscale_factor", "reference_spatial_scale_factor", "reference_temporal_scale_factor")
_IC_NAME = re.compile(r"(?<![a-z])ic[-_ ]?lora", re.IGNORECASE)
# Where trainers name the model that a LoRA was made for.
_MADE_FOR = ("model_version", "ss_base_model_version", "modelspec.architecture", "base_model", "ss_sd_model_name")


@dataclass(frozen=True)
class LoraLayer:
    """What changes one Linear layer: the file's names of A (rank, in), of B (out, rank), and of alpha if it has one."""

    down: str
    up: str
    alpha: str | None
    rank: int
    shape: tuple[int, int]  # of the layer's weight: (out, in)


@dataclass(frozen=True, eq=False)
class LoRA:
    """An opened LoRA.  `layers` go by the transformer's module names, such as "transformer_blocks.0.attn1.to_q".

    `reference` says why it is taken for an IC-LoRA, which changes a reference video: None for an ordinary one.
    `made_for` is the generation of LTX-2 that it names, with where it does; None where nothing tells.
    """

    path: Path
    layers: Mapping[str, LoraLayer] = field(repr=False)
    reference: str | None
    made_for: tuple[Generation, str] | None
    file: SafetensorsFile = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "LoRA":
        """Reads the header only.  CheckpointError if it is no LoRA, or of a kind that is not supported."""
        file = SafetensorsFile.open(path)
        parts: dict[str, dict[str, str]] = {}
        for key in file.tensors:
            layer, part = _split(key)
            if part is None:
                raise CheckpointError(
                    f"{file.path} is not a LoRA that LTX Duo can use: it holds {key}; expected pairs of lora_A and "
                    "lora_B (or lora_down and lora_up) weights. LoHa, LoKr and DoRA are not supported."
                )
            if parts.setdefault(layer, {}).setdefault(part, key) != key:
                raise CheckpointError(
                    f"{file.path} changes the layer {layer} twice ({parts[layer][part]}, {key}); expected one pair a "
                    "layer. The file is damaged: download it again."
                )
        if not parts:
            raise CheckpointError(f"{file.path} is not a LoRA: it is empty. Choose a LoRA file for LTX-2.3.")
        layers = {layer: _layer(file, layer, found) for layer, found in parts.items()}
        return cls(file.path, layers, _reference(file), _made_for(file), file)

    def target_names(self) -> list[str]:
        """The transformer's Linear layers that the LoRA changes."""
        return list(self.layers)

    def ranks(self) -> dict[str, int]:
        """The rank of each layer; small layers have small ones."""
        return {name: layer.rank for name, layer in self.layers.items()}

    def check(self, shapes: Mapping[str, Collection[int]], model: object = "this model") -> None:
        """VariantError unless each layer exists in the model with the same size; `shapes` by name of the weight."""
        absent = [name for name in self.layers if f"{name}.weight" not in shapes]
        other = [
            f"{name} ({layer.shape[0]}x{layer.shape[1]} instead of {'x'.join(map(str, shapes[f'{name}.weight']))})"
            for name, layer in self.layers.items()
            if tuple(shapes.get(f"{name}.weight", layer.shape)) != layer.shape
        ]
        if absent or other:
            found = [f"{len(absent):,} do not exist there (such as {absent[0]})"] if absent else []
            found += [f"{len(other):,} have another size (such as {other[0]})"] if other else []
            raise VariantError(
                f"{self.path} is a LoRA of another model than {model}: of its {len(self.layers):,} layers "
                f"{' and '.join(found)}. Use a LoRA that was made for this generation of LTX-2."
            )

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """The file's tensors by its own names, some at a time; see `SafetensorsFile.parts`."""
        return self.file.parts()

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return self.file.size

    def alphas(self) -> dict[str, float]:
        """The alpha of each layer that has one."""
        keys = {name: layer.alpha for name, layer in self.layers.items() if layer.alpha is not None}
        tensors = self.file.read(list(keys.values()))
        return {name: tensors[key].float().item() for name, key in keys.items()}

    def factors(self) -> dict[str, tuple[Tensor, Tensor, float]]:
        """A (rank, in), B (out, rank) and scale of each layer, mapped from the file; CheckpointError if not finite."""
        tensors = self.file.read(self.file.tensors)
        check_finite(tensors, self.path)
        check_written(tensors, self.file)
        factors = {}
        for name, layer in self.layers.items():
            scale = 1.0
            if layer.alpha is not None:
                scale = tensors[layer.alpha].float().item() / layer.rank
            factors[name] = (tensors[layer.down], tensors[layer.up], scale)
        return factors


def lora_deltas(
    lora: LoRA, strength: float = 1.0, device: torch.device | str | None = None
) -> Iterator[tuple[str, Tensor]]:
    """(name of the weight, strength * scale * B @ A in float32) for one layer after another."""
    for name, (down, up, scale) in lora.factors().items():
        yield f"{name}.weight", _delta(down, up, strength * scale, device)


@contextmanager
def fused(module: nn.Module, loras: Sequence[tuple[LoRA, float]]) -> Iterator[nn.Module]:
    """While entered, `module` has the weights of all LoRAs at their strengths; afterwards its own again, bit for bit.

    The sum is made in float32 and rounded once.  A strength of 0 leaves everything untouched.  The original weights are
    kept in host memory, not computed back: a model on a GPU takes no more of its memory.  VariantError if a LoRA does
    not fit; CheckpointError if a weight is float8 (dequantize first).
    """
    weights = dict(module.named_parameters())
    shapes = {name: weight.shape for name, weight in weights.items()}
    active = [(lora, strength) for lora, strength in loras if strength != 0]
    for lora, _ in active:
        lora.check(shapes)
    factors = [(lora.factors(), strength) for lora, strength in active]
    originals: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name in dict.fromkeys(name for layers, _ in factors for name in layers):
                key = f"{name}.weight"
                if weights[key].dtype.itemsize == 1:
                    raise CheckpointError(
                        f"Cannot add a LoRA to {key}, which is stored as {weights[key].dtype}; expected bf16 or "
                        "float32. Dequantize the weights first."
                    )
                originals[key] = weights[key].data.cpu()
                found = [(*layers[name], strength) for layers, strength in factors if name in layers]
                weights[key].data = _sum(weights[key], found)
        yield module
    finally:
        for name, original in originals.items():
            weights[name].data = original.to(weights[name].device)


def _sum(weight: Tensor, found: Sequence[tuple[Tensor, Tensor, float, float]]) -> Tensor:
    """The weight with (A, B, scale, strength) of each LoRA: a function of its own, so that the float32 sum goes."""
    total = weight.float()
    for down, up, scale, strength in found:
        total = total + _delta(down, up, strength * scale, weight.device)
    return total.to(weight.dtype)


def _delta(down: Tensor, up: Tensor, strength: float, device: torch.device | str | None) -> Tensor:
    return (up.to(device, torch.float32) * strength) @ down.to(device, torch.float32)


def _split(key: str) -> tuple[str, str | None]:
    """The layer that a tensor belongs to, by its module name, and which part it is."""
    for part, suffixes in (("down", _DOWN), ("up", _UP), ("alpha", (_ALPHA,))):
        for suffix in suffixes:
            if key.endswith(suffix):
                # The prefix may stand there more than once: exports of exports.
                name = key.removesuffix(suffix).removeprefix("model.").replace("diffusion_model.", "")
                return name, part
    return key, None


def _layer(file: SafetensorsFile, name: str, parts: Mapping[str, str]) -> LoraLayer:
    if "down" not in parts or "up" not in parts:
        raise CheckpointError(
            f"{file.path} has only {', '.join(parts.values())} for the layer {name}; expected a lora_A and a lora_B "
            "weight. The file is incomplete: download it again."
        )
    down, up = file.tensors[parts["down"]], file.tensors[parts["up"]]
    alpha = file.tensors[parts["alpha"]] if "alpha" in parts else None
    for part, info, dtypes in (("down", down, _NUMBERS), ("up", up, _NUMBERS), ("alpha", alpha, _ALPHAS)):
        if info is not None and info.dtype not in dtypes:
            raise CheckpointError(
                f"{file.path} stores {parts[part]} as {info.dtype}; expected bf16, float16, float32 or float8 numbers. "
                "Use the LoRA as its publisher released it, in one of these types."
            )
    if not _is_pair(down, up):
        raise CheckpointError(
            f"{file.path} has weights of shapes {down.shape} and {up.shape} for the layer {name}; expected (rank, in) "
            "and (out, rank) of a Linear layer. Use a LoRA made for LTX-2.3."
        )
    if alpha is not None and alpha.count != 1:
        raise CheckpointError(f"{file.path} has several numbers as alpha of {name}; expected one. Download it again.")
    return LoraLayer(parts["down"], parts["up"], parts.get("alpha"), down.shape[0], (up.shape[0], down.shape[1]))


def _is_pair(down: TensorInfo, up: TensorInfo) -> bool:
    return len(down.shape) == len(up.shape) == 2 and down.shape[0] == up.shape[1] and down.count * up.count > 0


def _reference(file: SafetensorsFile) -> str | None:
    """Why the file is taken for an IC-LoRA: the trainer's metadata, whatever it says there, or the name."""
    for key, value in file.metadata.items():
        if key.endswith(_REFERENCE):
            return f"its metadata has {key} {value[:40]!r}"
    return "of its name" if _IC_NAME.search(file.path.name) else None


def _made_for(file: SafetensorsFile) -> tuple[Generation, str] | None:
    """Layers of the blocks have the same sizes in several generations: only metadata and the name tell."""
    for key in _MADE_FOR:
        text = file.metadata.get(key, "")
        generation = (
            generation_of_version(text) if key == "model_version" and _is_ltx_2(text) else named_generation(text)
        )
        if generation is not None:
            return generation, f"its metadata has {key} {text[:40]!r}"
    generation = named_generation(file.path.name)
    return None if generation is None else (generation, "its name says so")


def _is_ltx_2(version: str) -> bool:
    # A LoRA's own version is 1.0 more often than not.
    return version_tuple(version) >= (2, 0)
