"""What a LoRA does to one layer: its tensors, their sizes, and whether they make a whole."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import lora_keys as keys
from ..errors import CheckpointError
from ..safetensors_file import TensorInfo

_NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_ALPHAS = (*_NUMBERS, "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


@dataclass(frozen=True)
class LoraLayer:
    """What changes one layer: `parts` are the file's tensors by the names of `keys`, `shape` is the weight's.

    `rank` is what an alpha is divided by, 0 where there is none.  `scale` comes from metadata, and holds where the
    layer has no alpha of its own.  `shape` is None where only the bias changes, which has the shape `bias`.
    """

    form: str  # "LoRA", "LoHa", "LoKr", "difference"
    parts: Mapping[str, str]
    rank: int
    shape: tuple[int, ...] | None
    bias: tuple[int, ...] | None = None
    scale: float | None = None

    @property
    def is_pair(self) -> bool:
        """Whether the weight's change is scale * B @ A and nothing more."""
        return self.form == "LoRA" and set(self.parts) <= {keys.DOWN, keys.UP, keys.ALPHA, *keys.BIASES}

    @property
    def down(self) -> str:
        return self.parts[keys.DOWN]

    @property
    def up(self) -> str:
        return self.parts[keys.UP]

    @property
    def alpha(self) -> str | None:
        return self.parts.get(keys.ALPHA)

    def without(self, parts: Collection[str]) -> "LoraLayer":
        """The rest, when these of its parts are left out; biases all together."""
        kept = {part: key for part, key in self.parts.items() if part not in parts}
        return replace(self, parts=kept, bias=None if set(keys.BIASES) <= set(parts) else self.bias)

    @property
    def kind(self) -> str:
        """What to call it: "LoRA", "LoKr with DoRA"."""
        return f"{self.form} with DoRA" if keys.DORA in self.parts else self.form


def layer_of(path: Path, name: str, parts: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> LoraLayer:
    """The layer that these parts make; CheckpointError if they are not whole, or no numbers."""
    infos = {part: tensors[key] for part, key in parts.items()}
    for part, info in infos.items():
        if info.dtype not in (_ALPHAS if part == keys.ALPHA else _NUMBERS):
            raise CheckpointError(
                f"{path} stores {parts[part]} as {info.dtype}; expected bf16, float16, float32 or float8 numbers. "
                "Use the LoRA as its publisher released it, in one of these types."
            )
    if keys.ALPHA in infos and infos[keys.ALPHA].count != 1:
        raise CheckpointError(f"{path} has several numbers as alpha of {name}; expected one. Download it again.")
    form, rank, shape = _form(path, name, parts, {part: info.shape for part, info in infos.items()})
    bias = next((infos[part].shape for part in keys.BIASES if part in infos), None)
    return LoraLayer(form, dict(parts), rank, shape, bias)


Shape = tuple[int, ...]


def _form(
    path: Path, name: str, parts: Mapping[str, str], shapes: Mapping[str, Shape]
) -> tuple[str, int, Shape | None]:
    """Form, rank and the weight's shape."""
    if keys.DOWN in shapes or keys.UP in shapes:
        if keys.DOWN not in shapes or keys.UP not in shapes:
            raise CheckpointError(
                f"{path} has only {', '.join(parts.values())} for the layer {name}; expected a lora_A and a lora_B "
                "weight. The file is incomplete: download it again."
            )
        down, up = shapes[keys.DOWN], shapes[keys.UP]
        if not _is_pair(down, up):
            raise CheckpointError(
                f"{path} has weights of shapes {down} and {up} for the layer {name}; expected (rank, in) "
                "and (out, rank) of a Linear layer. Use a LoRA made for LTX-2.3."
            )
        return "LoRA", down[0], _plain((up[0], *down[1:]) if keys.MID not in shapes else (0, *shapes[keys.MID]))
    if "hada_w1_a" in shapes:
        _need(path, name, parts, ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"))
        if "hada_t1" in shapes:
            return "LoHa", shapes["hada_w1_b"][0], (shapes["hada_w1_a"][1], shapes["hada_w1_b"][1], 0)
        return "LoHa", shapes["hada_w1_b"][0], _product(path, name, shapes, "hada_w1_a", "hada_w1_b")
    if any(part in shapes for part in keys.KRONECKER):
        return _kronecker(path, name, parts, shapes)
    if keys.DIFFERENCE in shapes or keys.SET in shapes:
        return "difference", 0, shapes[keys.DIFFERENCE if keys.DIFFERENCE in shapes else keys.SET]
    if keys.BIAS_DIFFERENCE in shapes:
        return "difference", 0, None
    raise CheckpointError(
        f"{path} has only {', '.join(parts.values())} for the layer {name}; expected a lora_A and a lora_B weight. "
        "The file is incomplete: download it again."
    )


def _kronecker(path: Path, name: str, parts: Mapping[str, str], shapes: Mapping[str, Shape]):
    sides, rank = [], 0
    for side in ("lokr_w1", "lokr_w2"):
        if side in shapes:
            sides.append(shapes[side])
        else:
            _need(path, name, parts, (f"{side}_a", f"{side}_b"))
            rank = shapes[f"{side}_b"][0]
            sides.append(_product(path, name, shapes, f"{side}_a", f"{side}_b"))
    if "lokr_t2" in shapes:  # of a convolution
        return "LoKr", rank, (0, 0, 0)
    first, second = (side[:2] for side in sides)
    more = next((side[2:] for side in sides if len(side) > 2), ())
    return "LoKr", rank, _plain((first[0] * second[0], first[1] * second[1], *more))


def _product(path: Path, name: str, shapes: Mapping[str, Shape], first: str, second: str) -> Shape:
    a, b = shapes[first], shapes[second]
    if len(a) != 2 or len(b) != 2 or a[1] != b[0] or not a[1]:
        raise CheckpointError(
            f"{path} has {first} of shape {a} and {second} of shape {b} for the layer {name}, which cannot be "
            "multiplied. Use the LoRA as its publisher released it."
        )
    return a[0], b[1]


def _need(path: Path, name: str, parts: Mapping[str, str], needed: tuple[str, ...]) -> None:
    if missing := [part for part in needed if part not in parts]:
        raise CheckpointError(
            f"{path} has only {', '.join(parts.values())} for the layer {name}, without {', '.join(missing)}. The file "
            "is incomplete: download it again."
        )


def _is_pair(down: Shape, up: Shape) -> bool:
    return len(down) == len(up) > 1 and down[0] == up[1] and 0 not in (*down, *up) and set(up[2:]) <= {1}


def _plain(shape: Shape) -> Shape:
    """A convolution with a kernel of one is a matrix."""
    return shape[:2] if set(shape[2:]) <= {1} else shape
