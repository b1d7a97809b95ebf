"""What a GGUF file holds, read from its header by the `gguf` package, with the names and numbers that others give it.

Transformers are stored under their own names; Gemma under llama.cpp's, which become Hugging Face's here, Gemma-3 with
one added to the weights of its norms, which is taken off.  Packed weights stay packed: see `gguf_blocks`.
"""

import mmap
import os
import re
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError
from .gguf_blocks import BLOCK_TYPES, BlockType
from .safetensors_file import MAX_TENSORS, SafetensorsFile, TensorInfo, too_long
from .stubs import LOOKED_AT, stub
from .unfinished import marks

ENDING = ".gguf"
MAX_KEYS = 10_000
# Gemma's vocabulary takes 7 MB.
MAX_HEADER_BYTES = 64_000_000
MAX_LIST = 2_000_000
OTHER_BLOCKS = "GGUF's "
_MOST_DIMENSIONS = 8

_MAGIC = b"GGUF"
_SHAPES = "comfy.gguf.orig_shape."
_TOKENIZER = "tokenizer.ggml."
# GGML's names for what safetensors has too.
_PLAIN = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
}  # fmt: skip
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9

_OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True)
class PackedInfo(TensorInfo):
    """A tensor in blocks: `dtype` is GGML's name, `shape` that of the numbers; `blocks` None: of an unknown kind."""

    packed_shape: tuple[int, ...]
    blocks: BlockType | None

    @property
    def format(self) -> str:
        """GGML's name of the blocks; of those that cannot be expanded with OTHER_BLOCKS before it."""
        return self.dtype if self.blocks is not None else OTHER_BLOCKS + self.dtype

    @property
    def size(self) -> int:
        return prod(self.packed_shape)

    @property
    def stored(self) -> tuple[torch.dtype, tuple[int, ...]]:
        return torch.uint8, self.packed_shape


@dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece vocabulary as llama.cpp stores it: texts, scores, and kinds (3 control, 4 user's, 6 bytes)."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    kinds: tuple[int, ...]


@dataclass(frozen=True)
class _List:
    """A list in the metadata: the kind of its items, how many, and where they begin."""

    kind: int
    count: int
    begin: int


@dataclass(frozen=True, eq=False)
class GgufFile(SafetensorsFile):
    """An opened file; `architecture` is what it says it holds.  Reads as a `SafetensorsFile` does."""

    architecture: str = ""
    _lists: Mapping[str, _List] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "GgufFile":
        """Reads and checks the header; CheckpointError if the file is bad or the `gguf` package is not installed."""
        path = Path(path)
        _check_start(path)
        try:
            stat = os.stat(path)
            header = _read_header(path)
        except CheckpointError:
            raise
        except OSError as error:
            raise _bad(path, f"it cannot be read ({error.strerror})", "Check its name and its permissions.") from error
        # Whatever the package stumbles over, the file is to blame.
        except (ValueError, KeyError, IndexError, OverflowError, TypeError, MemoryError, struct.error) as error:
            if "GGMLQuantizationType" in str(error):
                to_do = "Update that package, or use a version of the file in Q8_0, Q6_K or Q4_K."
                raise _bad(
                    path, f"it has numbers of a kind that the package gguf does not know ({error})", to_do
                ) from None
            raise _damaged(path, f"it cannot be read as GGUF ({str(error)[:200]})") from None
        tables = map(MappingProxyType, (header.metadata, header.tensors, header.places))
        architecture = header.metadata.get("general.architecture", "")
        file = cls(
            path, *tables, (stat.st_size, stat.st_mtime_ns), (stat.st_dev, stat.st_ino), architecture, header.lists
        )
        if header.metadata.get("split.count", "1") not in ("0", "1"):
            raise _bad(path, "it is one of several parts", "Join them with llama.cpp's llama-gguf-split --merge.")
        return file

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """As `SafetensorsFile.read`: packed tensors as uint8, rows of blocks."""
        tensors = super().read(names)
        # To Gemma-3's norms GGUF adds the one that they multiply with; Gemma-4's multiply with their weights alone.
        if self.architecture != "gemma3":
            return tensors
        return {
            name: tensor.float() - 1 if name.endswith("norm.weight") else tensor for name, tensor in tensors.items()
        }

    def numbers(self, name: str) -> Tensor:
        info = self.tensors[name]
        tensor = self.read([name])[name]
        if not isinstance(info, PackedInfo) or info.blocks is None:
            return tensor
        return info.blocks.samples(tensor)

    def has_vocabulary(self) -> bool:
        """Whether a SentencePiece vocabulary stands in the metadata, as far as its lengths tell."""
        lists = [self._lists.get(f"{_TOKENIZER}{name}") for name in ("tokens", "scores", "token_type")]
        if self.metadata.get(f"{_TOKENIZER}model") != "llama" or None in lists:
            return False
        return len({found.count for found in lists}) == 1 and [found.kind for found in lists] == [_TEXT, 6, 5]

    def vocabulary(self) -> Vocabulary:
        """CheckpointError if it is not there, or holds what is no text."""
        if not self.has_vocabulary():
            raise _bad(
                self.path, "it holds no SentencePiece vocabulary", "Use a GGUF of Gemma-3 as llama.cpp writes it."
            )
        self.check_unchanged()
        with self.path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            columns = [_items(data, self._lists[f"{_TOKENIZER}{name}"]) for name in ("tokens", "scores", "token_type")]
        try:
            tokens = tuple(token.decode() for token in columns[0])
        except UnicodeDecodeError as error:
            raise _damaged(self.path, f"its vocabulary is no text ({error})") from None
        return Vocabulary(tokens, *columns[1:])


@dataclass
class _Header:
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    places: dict[str, int]
    lists: dict[str, _List]


def _bad(path: Path, found: str, to_do: str) -> CheckpointError:
    return CheckpointError(f"Cannot use {path}: {found}; expected a complete .gguf file. {to_do}")


def _damaged(path: Path, found: str) -> CheckpointError:
    mark = next(marks(path), None)
    to_do = "The file is damaged or incomplete: download it again."
    return _bad(path, found, f"Its download is not finished ({mark} lies beside it): wait for it." if mark else to_do)


def _check_start(path: Path) -> None:
    """CheckpointError unless the file begins as GGUF files of this byte order do, with a sensible table of contents."""
    if os.path.isdir(path):
        raise _bad(path, "it is a folder", "Choose the .gguf file inside it.")
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
    except FileNotFoundError:
        raise _bad(path, "there is no such file", "Check the name and the folder.") from None
    except OSError as error:
        raise _bad(path, f"it cannot be read ({error.strerror})", "Check its name and its permissions.") from error
    if not start:
        raise _damaged(path, "it is empty")
    if not start.startswith(_MAGIC):
        kind, to_do = stub(start) or ("not in the GGUF format", "Download the file again.")
        raise _bad(path, f"it is {kind}", to_do)
    if len(start) < 24:
        raise _damaged(path, "it ends inside its header")
    version, tensors, keys = struct.unpack_from("<IQQ", start, 4)
    if version not in (2, 3):
        raise _bad(path, f"it is of GGUF's version {version}", "Versions 2 and 3 are read: use a newer file.")
    if tensors > MAX_TENSORS or keys > MAX_KEYS:
        raise _bad(
            path,
            f"it announces {tensors:,} tensors and {keys:,} keys; up to {MAX_TENSORS:,} and {MAX_KEYS:,} are read",
            "The file is damaged, or no model that LTX Duo knows.",
        )


def _package(path: Path) -> Any:
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            f"{path} is a GGUF file, which is read with the Python package gguf, and that is not installed. Run "
            f"'{_python()} -m pip install gguf' and start ComfyUI again."
        ) from None
    return gguf


def _python() -> str:
    return f'"{sys.executable}"' if sys.executable and " " in sys.executable else sys.executable or "python"


@cache
def _reader(gguf: Any) -> type:
    """The package's reader, bounded: it takes minutes for the lists of a vocabulary, and never ends where one claims
    more items than the file has bytes."""

    class Reader(gguf.GGUFReader):
        def __init__(self, path: Path):
            self.lists: dict[int, _List] = {}
            self._in_header = True
            super().__init__(path)

        def _get(self, offset: int, dtype: Any, count: int = 1, *more: Any, **options: Any):
            values = super()._get(offset, dtype, count, *more, **options)
            if len(values) != int(count):
                raise ValueError("it ends too early")
            if self._in_header and int(offset) + values.nbytes > MAX_HEADER_BYTES:
                raise ValueError(f"it takes more than {MAX_HEADER_BYTES:,} bytes")
            return values

        def _get_field_parts(self, orig_offs: int, raw_type: int):
            if raw_type != _LIST:
                return super()._get_field_parts(orig_offs, raw_type)
            kind, count = struct.unpack_from("<IQ", self.data, orig_offs)
            found = _List(kind, count, int(orig_offs) + 12)
            self.lists[int(orig_offs)] = found
            return _end_of(self.data, found) - orig_offs, [], [], [gguf.GGUFValueType.ARRAY]

        def _build_tensors(self, *arguments: Any) -> None:
            self._in_header = False
            super()._build_tensors(*arguments)

    return Reader


def _end_of(data: Any, found: _List) -> int:
    """Where a list ends; ValueError if that is not in the file's header, or it holds lists."""
    if found.count > MAX_LIST:
        raise ValueError(f"a list of {found.count:,} items")
    limit = min(len(data), MAX_HEADER_BYTES)
    if found.kind == _TEXT:
        end = found.begin
        for _ in range(found.count):
            end += 8 + struct.unpack_from("<Q", data, end)[0]
            if end > limit:
                raise ValueError("a list that ends outside of the header")
        return end
    if found.kind not in _NUMBERS:
        raise ValueError(f"a list of the kind {found.kind}")
    end = found.begin + found.count * struct.calcsize("<" + _NUMBERS[found.kind])
    if end > limit:
        raise ValueError("a list that ends outside of the header")
    return end


def _items(data: Any, found: _List) -> tuple:
    if found.kind != _TEXT:
        return struct.unpack_from(f"<{found.count}{_NUMBERS[found.kind]}", data, found.begin)
    items, place = [], found.begin
    for _ in range(found.count):
        length = struct.unpack_from("<Q", data, place)[0]
        items.append(bytes(data[place + 8 : place + 8 + length]))
        place += 8 + length
    return tuple(items)


def _read_header(path: Path) -> _Header:
    gguf = _package(path)
    reader = _reader(gguf)(path)
    metadata, lists = {}, {}
    for key, entry in reader.fields.items():
        # A field begins with the length of its name, the name and its type.
        begin = entry.offset + 8 + len(key.encode()) + 4
        if begin in reader.lists:
            lists[key] = reader.lists[begin]
        elif entry.types == [gguf.GGUFValueType.STRING]:
            metadata[key] = bytes(entry.parts[-1]).decode("utf-8", "replace")
        elif len(entry.types) == 1:
            metadata[key] = str(entry.parts[-1].tolist()[0])
    if long := too_long(tensor.name for tensor in reader.tensors):
        raise _bad(path, long, "Use the file as its publisher released it.")
    shapes = {
        key.removeprefix(_SHAPES): _items(reader.data, found) for key, found in lists.items() if key.startswith(_SHAPES)
    }
    architecture = metadata.get("general.architecture", "")
    tensors, places = {}, {}
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.data_offset):
        name = _name(tensor.name, architecture)
        tensors[name] = _info(path, tensor, shapes.get(tensor.name))
        places[name] = tensor.data_offset
    if len(tensors) != len(reader.tensors):
        raise ValueError("two of its tensors have the same name")
    return _Header(metadata, tensors, places, lists)


def _info(path: Path, tensor: Any, original: tuple | None) -> TensorInfo:
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    if len(shape) > _MOST_DIMENSIONS or tensor.n_elements != prod(shape):
        raise ValueError(f"{tensor.name} has the sizes {shape}")
    kind = tensor.tensor_type.name
    if original is not None and prod(original) != prod(shape):
        raise ValueError(f"{tensor.name} has the sizes {shape}, and {original} in the metadata")
    if kind in _PLAIN:
        return TensorInfo(kind, original or shape)
    packed = tuple(tensor.data.shape)
    return PackedInfo(kind, original or shape, packed, BLOCK_TYPES.get(kind))


def _name(name: str, architecture: str) -> str:
    if architecture not in ("gemma3", "gemma4"):
        return name
    if found := re.fullmatch(r"blk\.(\d+)\.layer_output_scale\.weight", name):
        return f"model.layers.{found[1]}.layer_scalar"
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
        return f"model.layers.{found[1]}.{_IN_LAYER.get(found[2], found[2])}.weight"
    return _OUTSIDE.get(name, name)
