"""What a .safetensors file holds, read from its header alone and checked before anything trusts it.

The format: eight bytes with the length of a JSON header, the header, then all tensors' bytes without gaps.
"""

import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .errors import CheckpointError
from .stubs import LOOKED_AT, shown, stub
from .unfinished import marks

# Headers are read while ComfyUI's server waits.  The largest official one has 6,000 tensors in 1 MB; quantised files
# have up to four entries a weight, and metadata may carry a whole workflow.
MAX_HEADER_BYTES = 16_000_000
MAX_TENSORS = 50_000
MAX_NAME = 1000  # characters; the patterns that names are told by take the square of that
_MAPPED_TOGETHER = 2**30  # bytes
_MAX_DIMENSIONS = 32
_MAX_SIZE = 2**63 - 1
_CHANGED = "Was it changed or deleted meanwhile? Queue again; if it is gone, put it back or choose another one."

# Bits of one element by the format's dtype name.
DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

# Those that torch can read as they are.
_TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header describes it; `dtype` is the format's name, such as "BF16" or "F8_E4M3"."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.count * DTYPE_BITS[self.dtype] // 8

    @property
    def stored(self) -> tuple[torch.dtype, tuple[int, ...]] | None:
        """dtype and shape as `read` gives it; None for what torch cannot hold."""
        dtype = _TORCH_DTYPES.get(self.dtype)
        return None if dtype is None else (dtype, self.shape)


@dataclass(frozen=True, eq=False)
class SafetensorsFile:
    """An opened file: its text metadata, and its tensors by name, in the order in which they lie in the file."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]
    _places: Mapping[str, int] = field(repr=False)  # where in the file each tensor's bytes begin
    _stamp: tuple[int, int] = field(repr=False)  # size and time of the last change
    _place: tuple[int, int] = field(repr=False)  # device and inode: another file of the same name has another one

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "SafetensorsFile":
        """Reads and checks the header; CheckpointError if the file is missing, cut short or not of this format."""
        path = Path(path)
        if os.path.isdir(path):
            raise _bad(path, "it is a folder", "Choose the .safetensors file inside it.")
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                metadata, tensors, places = _read_header(path, file, stat.st_size)
        except FileNotFoundError:
            raise _bad(path, "there is no such file", "Check the name and the folder.") from None
        except OSError as error:
            raise _bad(path, f"it cannot be read ({error.strerror})", "Check its name and its permissions.") from error
        tables = map(MappingProxyType, (metadata, tensors, places))
        return cls(path, *tables, _stamp(stat), (stat.st_dev, stat.st_ino))

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors on the CPU, mapped into memory: their bytes are read from the disk when they are used.

        They are mapped 1 GB at a time.  A mapping of the whole file would count as memory that may be written to, and
        be refused where the file is larger than that; one for each tensor would take a file handle each.
        """
        names = list(names)
        absent = [name for name in names if name not in self.tensors]
        if absent:
            raise _bad(self.path, f"it holds no tensor {absent[0]!r}", "Use a file that has it.")
        foreign = [name for name in names if self.tensors[name].stored is None]
        if foreign:
            found = f"its tensor {_short(foreign[0])} has the type {self.tensors[foreign[0]].dtype}"
            raise _bad(self.path, found, "Use a bf16 or fp8 version of the file.")
        if not names:
            return {}
        try:
            with self.path.open("rb") as file:
                if _stamp(os.fstat(file.fileno())) == self._stamp:
                    tensors: dict[str, Tensor] = {}
                    for run in self._runs(names):
                        tensors.update(self._map(file, run))
                    return {name: tensors[name] for name in names}
        except (OSError, ValueError) as error:
            raise _bad(self.path, f"it cannot be read ({error})", _CHANGED) from error
        raise _bad(self.path, "it cannot be read as it was when it was opened", _CHANGED)

    def numbers(self, name: str) -> Tensor:
        """A tensor's numbers, for looking at them: of packed ones samples."""
        return self.read([name])[name]

    def check_unchanged(self) -> None:
        """CheckpointError if the file is not there as it was when it was opened; for before its tensors are mapped."""
        try:
            same = _stamp(os.stat(self.path)) == self._stamp
        except OSError as error:
            raise _bad(self.path, f"it cannot be read ({error})", _CHANGED) from error
        if not same:
            raise _bad(self.path, "it cannot be read as it was when it was opened", _CHANGED)

    def check_not_written_over(self) -> None:
        """CheckpointError if the file was written over since it was opened; for before mapped tensors are read.

        The system ends a process that reads what was cut off a mapped file.  One that was deleted, or that another file
        took the place of, is kept for those who map it.
        """
        try:
            stat = os.stat(self.path)
        except OSError:
            return
        if (stat.st_dev, stat.st_ino) == self._place and _stamp(stat) != self._stamp:
            raise _bad(self.path, "it was written over while it was in use, perhaps by a download that began again",
                       "Wait until it is complete, and queue again.")  # fmt: skip

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """All tensors as `read` gives them, about 1 GB at a time: who copies them can let go of what was read."""
        for run in self._runs(self.tensors):
            yield self.read(run)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(self._end(name) - self._places[name] for name in self.tensors)

    def _end(self, name: str) -> int:
        return self._places[name] + self.tensors[name].size

    def _runs(self, names: Iterable[str]) -> Iterator[list[str]]:
        """The names by their places in the file, in groups that are mapped together."""
        run: list[str] = []
        for name in sorted(names, key=self._places.__getitem__):
            if run and self._end(name) - self._places[run[0]] > _MAPPED_TOGETHER:
                yield run
                run = []
            run.append(name)
        if run:
            yield run

    def _map(self, file: BinaryIO, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        """Tensors over their bytes in one mapping; what is written to them stays in memory."""
        begin = self._places[names[0]] // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        end = max(map(self._end, names))
        mapping = mmap.mmap(file.fileno(), end - begin, access=mmap.ACCESS_COPY, offset=begin) if end > begin else b""
        for name in names:
            dtype, shape = self.tensors[name].stored
            if prod(shape) == 0:
                yield name, torch.empty(shape, dtype=dtype)
            else:
                place = self._places[name] - begin
                yield name, torch.frombuffer(mapping, dtype=dtype, count=prod(shape), offset=place).view(shape)


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _bad(path: Path, found: str, to_do: str) -> CheckpointError:
    ending = path.suffix.lower() if path.suffix.lower() == ".gguf" else ".safetensors"
    return CheckpointError(f"Cannot use {path}: {found}; expected a complete {ending} file. {to_do}")


def _damaged(path: Path, found: str) -> CheckpointError:
    mark = next(marks(path), None)
    to_do = "The file is damaged or incomplete: download it again."
    return _bad(path, found, f"Its download is not finished ({mark} lies beside it): wait for it." if mark else to_do)


def _malformed(path: Path, found: str) -> CheckpointError:
    """For what a program wrote so, and no download breaks."""
    return _bad(path, found, "It was not written as the format asks: use the file as its publisher released it.")


def _read_header(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, TensorInfo], dict[str, int]]:
    """The metadata, and tensors by name with the places in the file where their bytes begin."""
    if size == 0:
        raise _damaged(path, "it is empty")
    start = file.read(LOOKED_AT)
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else None
    if length is None or start[8:9] != b"{" or length >= 2**32:
        kind, to_do = stub(start) or _unknown(start)
        raise _bad(path, f"it is {kind}", to_do)
    if length > MAX_HEADER_BYTES:
        found = f"its header takes {length:,} bytes, and more than {MAX_HEADER_BYTES:,} are not read"
        raise _bad(path, found, "Use the file as its publisher released it, or save it with less metadata.")
    if 8 + length > size:
        raise _damaged(path, f"it ends inside its header ({size:,} bytes, the header alone takes {8 + length:,})")
    file.seek(8)
    raw = file.read(length)
    if len(raw) != length:
        raise _damaged(path, "it became shorter while it was read")
    metadata, entries = _parse_header(path, raw, size - 8 - length)
    tensors = {name: info for name, info, _ in entries}
    return metadata, tensors, {name: 8 + length + begin for name, _, begin in entries}


def _unknown(start: bytes) -> tuple[str, str]:
    kind = f"a JSON text{shown(start)}" if start.startswith(b"{") else f"not in the .safetensors format{shown(start)}"
    return kind, "Download the .safetensors version of the file."


def _check_amount(path: Path, raw: bytes) -> None:
    """CheckpointError if the header holds far more than any model has, told without building it.

    A table of tensors has a few brackets, commas and quotes for each; texts inside metadata may hold any number.
    """
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    amount = plain.count(b'"') // 12
    if amount <= MAX_TENSORS:
        outside = b"".join(plain.split(b'"')[::2])
        amount = max((outside.count(b"[") + outside.count(b"{")) // 4, outside.count(b",") // 12)
    if amount > MAX_TENSORS:
        found = f"its header holds more than {MAX_TENSORS:,} tensors need, eight times as many as LTX-2.3 has"
        raise _bad(path, found, "Use the file as its publisher released it.")


def _parse_header(path: Path, raw: bytes, data_size: int) -> tuple[dict[str, str], list[tuple[str, TensorInfo, int]]]:
    _check_amount(path, raw)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not valid JSON ({error})") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _malformed(path, "its __metadata__ is not a table of texts")
    if long := too_long(header):
        raise _malformed(path, long)
    entries = [(name, *_tensor_entry(path, name, entry)) for name, entry in header.items()]
    entries.sort(key=lambda entry: entry[2:])
    end = 0
    for name, _, begin, stop in entries:
        if begin != end:
            kind = "overlaps another one" if begin < end else f"leaves {begin - end:,} unused bytes before it"
            raise _malformed(path, f"its tensor {_short(name)} {kind}")
        end = stop
    if end > data_size:
        missing = end - data_size
        raise _damaged(path, f"the last {missing:,} of {end:,} bytes of its tensors are missing")
    if end < data_size:
        raise _damaged(path, f"{data_size - end:,} unknown bytes follow its tensors")
    return metadata, [(name, info, begin) for name, info, begin, _ in entries]


def too_long(names: Iterable[str]) -> str | None:
    """What to say of the first name that is longer than any model's; None where all are read."""
    long = next((name for name in names if len(name) > MAX_NAME), None)
    if long is None:
        return None
    return f"a tensor's name has {len(long):,} characters ({_short(long)}), and more than {MAX_NAME:,} are not read"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _tensor_entry(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    """A header entry's tensor with the range of its bytes."""
    if not isinstance(entry, dict):
        raise _malformed(path, f"the header entry of {_short(name)} is not a table")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        found = f"its tensor {_short(name)} has the unknown type {_short(dtype)}"
        raise _bad(path, found, "Use a bf16 or fp8 version of the file.")
    if not _sizes(shape) or len(shape) > _MAX_DIMENSIONS or not _sizes(offsets) or len(offsets) != 2:
        raise _malformed(path, f"the header entry of {_short(name)} has no valid shape and place")
    info, (begin, end) = TensorInfo(dtype, tuple(shape)), offsets
    bits = info.count * DTYPE_BITS[dtype]
    if bits % 8 or bits // 8 != end - begin:
        raise _malformed(path, f"its tensor {_short(name)} ({dtype}, shape {shape}) has {end - begin:,} bytes of data")
    return info, begin, end


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= _MAX_SIZE for value in values)
