"""What a .safetensors file holds, read from its header alone and checked before anything trusts it.

The format: eight bytes with the length of a JSON header, the header, then all tensors' bytes without gaps.
"""

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_MAX_DIMENSIONS = 32
_MAX_SIZE = 2**63 - 1

# Bits of one element by the format's dtype name.
DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

# What people save under the name by mistake, by how it begins.
_OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive, probably a PyTorch .pt/.ckpt file"),
    (b"GGUF", "a GGUF file"),
    (b"\x80", "a pickle, probably an old PyTorch .pt/.bin file"),
    (b"version https://git-lfs", "a Git LFS pointer, a few lines of text instead of the file itself"),
    (b"<", "a web page: the download saved an error or log-in page"),
    (b"{", "a JSON text"),
)


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header describes it; `dtype` is the format's name, such as "BF16" or "F8_E4M3"."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class SafetensorsFile:
    """An opened file: its text metadata, and its tensors by name, in the order in which they lie in the file."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "SafetensorsFile":
        """Reads and checks the header; CheckpointError if the file is missing, cut short or not of this format."""
        path = Path(path)
        if os.path.isdir(path):
            raise _bad(path, "it is a folder", "Choose the .safetensors file inside it.")
        try:
            with path.open("rb") as file:
                metadata, tensors = _read_header(path, file, os.fstat(file.fileno()).st_size)
        except FileNotFoundError:
            raise _bad(path, "there is no such file", "Check the name and the folder.") from None
        except OSError as error:
            raise _bad(path, f"it cannot be read ({error.strerror})", "Check its name and its permissions.") from error
        return cls(path, MappingProxyType(metadata), MappingProxyType(tensors))

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors on the CPU, mapped into memory: their bytes are read from the disk when they are used."""
        names = list(names)
        absent = [name for name in names if name not in self.tensors]
        if absent:
            raise _bad(self.path, f"it holds no tensor {absent[0]!r}", "Use a file that has it.")
        name = ""
        try:
            with safe_open(self.path, framework="pt", device="cpu") as file:
                tensors = {}
                for name in names:
                    tensors[name] = file.get_tensor(name)
                return tensors
        except (SafetensorError, OSError, RuntimeError, AttributeError, KeyError) as error:
            what = f"its tensor {name!r} cannot be read ({error})" if name else f"it cannot be read ({error})"
            raise _bad(self.path, what, "Was it changed or deleted meanwhile? Download it again.") from error


def _bad(path: Path, found: str, to_do: str) -> CheckpointError:
    return CheckpointError(f"Cannot use {path}: {found}; expected a complete .safetensors file. {to_do}")


def _damaged(path: Path, found: str) -> CheckpointError:
    return _bad(path, found, "The file is damaged or incomplete: download it again.")


def _read_header(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, TensorInfo]]:
    if size == 0:
        raise _damaged(path, "it is empty")
    start = file.read(32)
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else None
    if length is None or start[8:9] != b"{" or length > MAX_HEADER_BYTES:
        kind = next((kind for begin, kind in _OTHER_KINDS if start.startswith(begin)), "not in the .safetensors format")
        raise _bad(path, f"it is {kind}", "Download the .safetensors version of the file.")
    if 8 + length > size:
        raise _damaged(path, f"it ends inside its header ({size:,} bytes, the header alone takes {8 + length:,})")
    file.seek(8)
    raw = file.read(length)
    if len(raw) != length:
        raise _damaged(path, "it became shorter while it was read")
    return _parse_header(path, raw, size - 8 - length)


def _parse_header(path: Path, raw: bytes, data_size: int) -> tuple[dict[str, str], dict[str, TensorInfo]]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not valid JSON ({error})") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its __metadata__ is not a table of texts")
    entries = [(name, *_tensor_entry(path, name, entry)) for name, entry in header.items()]
    entries.sort(key=lambda entry: entry[2:])
    end = 0
    for name, _, begin, stop in entries:
        if begin != end:
            kind = "overlaps another one" if begin < end else f"leaves {begin - end:,} unused bytes before it"
            raise _damaged(path, f"its tensor {_short(name)} {kind}")
        end = stop
    if end > data_size:
        missing = end - data_size
        raise _damaged(path, f"the last {missing:,} of {end:,} bytes of its tensors are missing")
    if end < data_size:
        raise _damaged(path, f"{data_size - end:,} unknown bytes follow its tensors")
    return metadata, {name: info for name, info, _, _ in entries}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _tensor_entry(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    """A header entry's tensor with the range of its bytes."""
    if not isinstance(entry, dict):
        raise _damaged(path, f"the header entry of {_short(name)} is not a table")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        found = f"its tensor {_short(name)} has the unknown type {_short(dtype)}"
        raise _bad(path, found, "Use a bf16 or fp8 version of the file.")
    if not _sizes(shape) or len(shape) > _MAX_DIMENSIONS or not _sizes(offsets) or len(offsets) != 2:
        raise _damaged(path, f"the header entry of {_short(name)} has no valid shape and place")
    info, (begin, end) = TensorInfo(dtype, tuple(shape)), offsets
    bits = info.count * DTYPE_BITS[dtype]
    if bits % 8 or bits // 8 != end - begin:
        raise _damaged(path, f"its tensor {_short(name)} ({dtype}, shape {shape}) has {end - begin:,} bytes of data")
    return info, begin, end


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= _MAX_SIZE for value in values)
