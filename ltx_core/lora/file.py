"""An opened LoRA: which layers it changes, which of its keys do nothing and why, and whether it fits a model."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from .. import lora_keys as keys
from ..errors import CheckpointError, VariantError
from ..generation import Generation
from ..safetensors_file import SafetensorsFile
from ..weights import check_finite, check_written
from .layers import LoraLayer, layer_of
from .names import is_known, is_projection, is_text_encoder, is_vae, module_name, other_model
from .origin import named_for, reference_evidence, shaped_for
from .scales import metadata_scale

_EXPECTED = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight"
_PROJECTION = "of the text projection, over which no LoRA is laid"
_TEXT_ENCODER = "of a text encoder, over which no LoRA is laid"
_VAE = "of a VAE, over which no LoRA is laid"
_NO_ADAPTER = "of a kind of adapter that is not supported"
_NOT_WHOLE = "that make no whole change, of layers whose names are not LTX-2's"
_NO_LORA = "that are no part of a LoRA"


@dataclass(frozen=True)
class Unused:
    """Keys of a LoRA that do nothing, and why: "of a text encoder, over which no LoRA is laid"."""

    why: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        plural = "key" if len(self.keys) == 1 else "keys"
        return f"{len(self.keys):,} {plural} {self.why} ({_some(self.keys)})"


@dataclass(frozen=True, eq=False)
class LoRA:
    """An opened LoRA.  `layers` go by official module names, such as "transformer_blocks.0.attn1.to_q".

    Those of the text connectors begin with one of `names.CONNECTORS`.  `unused` are the keys that do nothing.
    `reference` says why it is taken for an IC-LoRA, which changes a reference video: None for an ordinary one.
    `made_for` is the generation of LTX-2 that it names, with where it does; None where nothing tells.
    `scale_key` is the metadata that scales are read from, None where tensors or nothing tell them.
    """

    path: Path
    layers: Mapping[str, LoraLayer] = field(repr=False)
    reference: str | None
    made_for: tuple[Generation, str] | None
    file: SafetensorsFile = field(repr=False)
    unused: tuple[Unused, ...] = ()
    scale_key: str | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "LoRA":
        """Reads the header only.  CheckpointError if it is no LoRA of LTX-2, or of a kind that is not supported."""
        file = SafetensorsFile.open(path)
        parts: dict[str, dict[str, str]] = {}
        spelled: dict[str, str] = {}
        unused: dict[str, list[str]] = {}
        for key in file.tensors:
            layer, part = keys.split(key) or (key, None)
            if (why := _why_unused(layer, part)) is not None:
                unused.setdefault(why, []).append(key)
                continue
            name = module_name(layer)
            spelled[name] = layer
            if parts.setdefault(name, {}).setdefault(part, key) != key:
                raise CheckpointError(
                    f"{file.path} changes the layer {name} twice ({parts[name][part]}, {key}); expected one change a "
                    "layer. Use a file that holds one LoRA."
                )
        layers: dict[str, LoraLayer] = {}
        wrong: CheckpointError | None = None
        for name, found in parts.items():
            # Of adapters that are not known the other parts are known by name: OFT has an alpha too.
            if found.keys() <= {keys.ALPHA, keys.DORA}:
                unused.setdefault(_NO_ADAPTER, []).extend(found.values())
                continue
            try:
                layers[name] = layer_of(file.path, name, found, file.tensors)
            except CheckpointError as error:
                if is_known(name):
                    raise
                wrong = wrong or error
                unused.setdefault(_NOT_WHOLE, []).extend(found.values())
        left = tuple(Unused(why, tuple(found)) for why, found in unused.items())
        if not layers:
            raise wrong or _no_layers(file, left)
        kohya = all(key.startswith(("lora_", "lycoris_")) for key in file.tensors)
        scale = metadata_scale(file.metadata, kohya)
        used = False
        for name, layer in layers.items() if scale is not None else ():
            if layer.alpha is None and layer.rank and (number := scale.of(spelled[name], name, layer.rank)):
                layers[name], used = replace(layer, scale=number), True
        return cls(
            file.path, layers, reference_evidence(file), named_for(file), file, left, scale.key if used else None
        )

    def target_names(self) -> list[str]:
        """The layers that the LoRA changes."""
        return list(self.layers)

    def ranks(self) -> dict[str, int]:
        """The rank of each layer that has one; small layers have small ones."""
        return {name: layer.rank for name, layer in self.layers.items() if layer.rank}

    def check(self, shapes: Mapping[str, Collection[int]], model: object = "this model") -> None:
        """VariantError where `fitted` raises it."""
        self.fitted(shapes, model)

    def fitted(self, shapes: Mapping[str, Collection[int]], model: object = "this model") -> "LoRA":
        """The LoRA with the layers that the model has; `shapes` by official name of the parameter.

        VariantError if it has none of them, or one of another size.
        """
        layers, absent, unknown, tables, other, biases = {}, [], [], [], [], []
        for name, layer in self.layers.items():
            shape = shapes.get(f"{name}.weight")
            bias = shapes.get(f"{name}.bias")
            if shape is None:
                (tables if name in shapes else absent if is_known(name) else unknown).append(name)
                continue
            if layer.shape is not None and tuple(shape) != layer.shape:
                other.append(f"{name} ({_size(layer.shape)} instead of {_size(shape)})")
            if layer.bias is not None and (bias is None or tuple(bias) != layer.bias):
                biases += [layer.parts[part] for part in keys.BIASES if part in layer.parts]
                layer = layer.without(keys.BIASES)
            if layer.parts:
                layers[name] = layer
        if other or not layers:
            raise self._misfit(model, absent + tables, unknown, other)
        left = {
            "of layers that this model does not have": self._keys_of(absent),
            # ComfyUI patches what layers hold, and no parameters beside layers.
            "of tables of modulations, over which no LoRA is laid": self._keys_of(tables),
            "whose names are not LTX-2's": self._keys_of(unknown),
            "for biases that this model does not have": tuple(biases),
        }
        return replace(
            self, layers=layers, unused=(*self.unused, *(Unused(why, found) for why, found in left.items() if found))
        )

    def only(self, layers: Collection[str]) -> "LoRA":
        """The LoRA with these of its layers."""
        return replace(self, layers={name: self.layers[name] for name in layers})

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """The file's tensors by its own names, some at a time; see `SafetensorsFile.parts`."""
        return self.file.parts()

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return self.file.size

    def scales(self) -> dict[str, float]:
        """What each layer's change is multiplied with, besides the strength: alpha / rank, or as metadata says."""
        keys_of = {name: layer.alpha for name, layer in self.layers.items() if layer.alpha is not None and layer.rank}
        tensors = self.file.read(list(keys_of.values()))
        found = {name: 1.0 if layer.scale is None else layer.scale for name, layer in self.layers.items()}
        return found | {name: tensors[key].float().item() / self.layers[name].rank for name, key in keys_of.items()}

    def checked(self) -> dict[str, Tensor]:
        """The file's tensors by its own names, mapped from the file; CheckpointError if they are not finite."""
        tensors = self.file.read(self.file.tensors)
        check_finite(tensors, self.path)
        check_written(tensors, self.file)
        return tensors

    def factors(self) -> dict[str, tuple[Tensor, Tensor, float]]:
        """A (rank, in), B (out, rank) and scale of each layer that has them; CheckpointError if not finite."""
        tensors, scales = self.checked(), self.scales()
        return {
            name: (tensors[layer.down].flatten(1), tensors[layer.up].flatten(1), scales[name])
            for name, layer in self.layers.items()
            if layer.is_pair
        }

    def _keys_of(self, layers: Collection[str]) -> tuple[str, ...]:
        return tuple(key for name in layers for key in self.layers[name].parts.values())

    def _misfit(self, model: object, absent: list[str], unknown: list[str], other: list[str]) -> VariantError:
        """Why it does not fit, by what the names and sizes are."""
        if unknown and not (absent or other):
            return VariantError(
                f"None of the {len(unknown):,} layers of {self.path} is known by its name (such as {unknown[0]}): the "
                f"file is of another key format, or of a model that is not LTX-2. Expected names such as {_EXPECTED}."
            )
        missing = absent + unknown
        found = [f"{len(missing):,} do not exist there (such as {missing[0]})"] if missing else []
        found += [f"{len(other):,} have another size (such as {other[0]})"] if other else []
        made = self.made_for or shaped_for(self.layers)
        return VariantError(
            f"{self.path} is a LoRA of another model than {model}: of its {len(self.layers):,} layers "
            f"{' and '.join(found)}. {'' if made is None else f'It is for {made[0]} ({made[1]}). '}"
            "Use a LoRA that was made for this generation of LTX-2."
        )


def _why_unused(layer: str, part: str | None) -> str | None:
    """Why a part of a layer, as the file calls it, does nothing; None for one that may do something."""
    if part is None:
        return _NO_LORA
    if is_projection(layer):
        return _PROJECTION
    if is_text_encoder(layer):
        return _TEXT_ENCODER
    if is_vae(layer):
        return _VAE
    if (other := other_model(layer)) is not None:
        return f"of {other}"
    return None if part in keys.PARTS else _NO_ADAPTER


def _no_layers(file: SafetensorsFile, unused: tuple[Unused, ...]) -> CheckpointError:
    """Why a file holds nothing that could act."""
    if not unused:
        return CheckpointError(f"{file.path} is not a LoRA: it is empty. Choose a LoRA file for LTX-2.3.")
    most = max(unused, key=lambda found: len(found.keys))
    some = _some(most.keys)
    if most.why == _NO_LORA:
        return CheckpointError(
            f"{file.path} is not a LoRA that LTX Duo can use: it holds {most.keys[0]}; expected pairs of lora_A and "
            f"lora_B (or lora_down and lora_up) weights, LoHa, LoKr or differences, such as {_EXPECTED}."
        )
    if most.why == _NO_ADAPTER:
        return CheckpointError(
            f"{file.path} holds a kind of adapter that LTX Duo does not know ({some}). It runs LoRA, LoHa, LoKr, DoRA "
            "and differences."
        )
    if most.why == _TEXT_ENCODER:
        return CheckpointError(
            f"{file.path} is a text encoder's LoRA ({some}): there is nothing in it for the transformer, and LTX Duo "
            "lays no LoRA over Gemma. Choose a LoRA of the transformer."
        )
    if most.why == _VAE:
        return CheckpointError(
            f"{file.path} is a VAE's LoRA ({some}): there is nothing in it for the transformer, and LTX Duo lays no "
            "LoRA over a VAE. Choose a LoRA of the transformer."
        )
    if most.why == _PROJECTION:
        return CheckpointError(
            f"{file.path} changes nothing but the text projection ({some}), over which LTX Duo lays no LoRA. Choose a "
            "LoRA of the transformer."
        )
    return CheckpointError(
        f"{file.path} is a LoRA {most.why}, not of LTX-2 ({some}). Choose a LoRA that was made for LTX-2.3."
    )


def _size(shape: Collection[int]) -> str:
    return "x".join(map(str, shape))


def _some(found: Collection[str], most: int = 2) -> str:
    return ", ".join(list(found)[:most]) + (", ..." if len(found) > most else "")
