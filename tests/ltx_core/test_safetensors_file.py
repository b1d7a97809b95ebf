"""Headers of .safetensors files: what is read, and that whatever is wrong ends in one clear error."""

import itertools
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.safetensors_file import MAX_HEADER_BYTES, SafetensorsFile

PACK = Path(__file__).resolve().parents[2]


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def write(tmp_path):
    def write(content: bytes):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        return path

    return write


def test_reads_what_the_library_wrote(tmp_path):
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5, dtype=torch.bfloat16),
        "c": torch.randn(2, 2).to(torch.float8_e4m3fn),
        "empty": torch.zeros(0, 7),
        "scalar": torch.tensor(2.5),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "flag": torch.tensor([True, False]),
        "whole": torch.tensor([-3, 2**40]),
    }
    save_file(tensors, tmp_path / "x.safetensors", {"model_version": "2.3", "note": "ünï"})
    file = SafetensorsFile.open(tmp_path / "x.safetensors")
    assert dict(file.metadata) == {"model_version": "2.3", "note": "ünï"}
    assert {name: info.shape for name, info in file.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    dtypes = ["F32", "BF16", "F8_E4M3", "F32", "F32", "U8", "BOOL", "I64"]
    assert [file.tensors[name].dtype for name in tensors] == dtypes
    assert (file.tensors["a"].count, file.tensors["empty"].count, file.tensors["scalar"].count) == (12, 0, 1)
    read = file.read(["c", "a", "empty", "scalar"])
    assert list(read) == ["c", "a", "empty", "scalar"]
    for name, tensor in read.items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor.float(), tensors[name].float())


def test_parts_are_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr("ltx_duo.ltx_core.safetensors_file._MAPPED_TOGETHER", 100)
    tensors = {str(i): torch.randn(i, 5) for i in range(1, 9)}
    save_file(tensors, tmp_path / "model.safetensors")
    file = SafetensorsFile.open(tmp_path / "model.safetensors")
    parts = list(file.parts())
    found = {name: tensor for part in parts for name, tensor in part.items()}
    assert len(parts) > 3 and sum(map(len, parts)) == len(tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert file.size == sum(tensor.numel() * 4 for tensor in tensors.values())


@pytest.mark.parametrize("limit", [100, 161])
def test_parts_are_as_large_as_the_limit_lets_them(tmp_path, monkeypatch, limit):
    """None is larger, but for a single tensor; and tensors do not take a mapping each, wherever in the file."""
    monkeypatch.setattr("ltx_duo.ltx_core.safetensors_file._MAPPED_TOGETHER", limit)
    sizes = [4, 10, 3, 60, 5, 20, 40, 1, 1, 1]
    save_file({str(i): torch.zeros(size) for i, size in enumerate(sizes)}, tmp_path / "model.safetensors")
    parts = [[t.nbytes for t in part.values()] for part in SafetensorsFile.open(tmp_path / "model.safetensors").parts()]
    assert all(sum(part) <= limit or len(part) == 1 for part in parts), parts
    assert all(sum(part) + after[0] > limit for part, after in itertools.pairwise(parts)), parts


def test_empty_table_of_tensors_is_a_file(write):
    assert dict(SafetensorsFile.open(write(raw({}))).tensors) == {}


DAMAGED = {
    "empty": (b"", "it is empty"),
    "seven bytes": (b"\x01" * 7, "not in the .safetensors format"),
    "length only": (struct.pack("<Q", 2), "not in the .safetensors format"),
    "web page": (b"<!DOCTYPE html><html>404</html>" * 9, "web page"),
    "zip": (b"PK\x03\x04" + b"\0" * 50, "zip archive"),
    "pickle": (pickle.dumps({"a": list(range(99))}), "pickle"),
    "gguf": (b"GGUF" + b"\0" * 50, "GGUF"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "json": (b'{"a": 1}' * 20, "JSON text"),
    "length above the limit": (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}", "its header takes 16,000,001 bytes"),
    "zeros": (b"\0" * 5000, "nothing but zeros at its beginning: the download is not finished"),
    "cut inside the header": (raw({"a": entry()}, b"\0" * 8)[:30], "ends inside its header"),
    "header is a list": (raw(b'{"a"]'), "not valid JSON"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "same name twice": (raw(b'{"a": {}, "a": {}}'), "occurs twice"),
    "deep nesting": (raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "not valid JSON"),
    "endless number": (raw(b'{"a": ' + b"9" * 10_000 + b"}"), "not valid JSON"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata is a text": (raw({"__metadata__": "a"}), "__metadata__"),
    "tensor is a number": (raw({"a": 1}), "'a' is not a table"),
    "no dtype": (raw({"a": {"shape": [2], "data_offsets": [0, 8]}}), "unknown type None"),
    "unknown dtype": (raw({"a": entry("F128")}, b"\0" * 8), "unknown type 'F128'"),
    "dtype is a list": (raw({"a": entry(["F32"])}, b"\0" * 8), "unknown type"),
    "negative size": (raw({"a": entry(shape=(-2,))}, b"\0" * 8), "no valid shape"),
    "size is a float": (raw({"a": entry(shape=(2.0,))}, b"\0" * 8), "no valid shape"),
    "size is true": (raw({"a": entry(shape=(True,), offsets=(0, 4))}, b"\0" * 4), "no valid shape"),
    "huge shape": (raw({"a": entry(shape=(2**62,) * 32)}, b"\0" * 8), "bytes of data"),
    "too many axes": (raw({"a": entry(shape=(1,) * 33, offsets=(0, 4))}, b"\0" * 4), "no valid shape"),
    "one offset": (raw({"a": entry(offsets=(8,))}, b"\0" * 8), "no valid shape"),
    "offsets backwards": (raw({"a": entry(offsets=(8, 0))}, b"\0" * 8), "bytes of data"),
    "bytes do not fit the shape": (raw({"a": entry(shape=(3,))}, b"\0" * 8), "bytes of data"),
    "half a byte": (raw({"a": entry("F4", (3,), (0, 1))}, b"\0"), "bytes of data"),
    "overlap": (raw({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), "'b' overlaps"),
    "gap": (raw({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), "4 unused bytes"),
    "does not begin at 0": (raw({"a": entry(offsets=(8, 16))}, b"\0" * 16), "8 unused bytes"),
    "cut inside the tensors": (raw({"a": entry(), "b": entry(offsets=(8, 16))}, b"\0" * 13), "last 3 of 16 bytes"),
    "bytes behind the tensors": (raw({"a": entry()}, b"\0" * 11), "3 unknown bytes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_named_with_what_is_wrong(kind, write):
    content, words = DAMAGED[kind]
    path = write(content)
    with pytest.raises(CheckpointError) as error:
        SafetensorsFile.open(path)
    message = str(error.value)
    assert str(path) in message
    assert words in message
    assert "expected a complete .safetensors file" in message
    assert len(message) < 2000


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 46139\n"
FIRST_LINES = {
    "Git LFS": (LFS, "begins with 'version https://git-lfs.github.com/spec/v1'", "git lfs pull"),
    "page": (b"\n <!DOCTYPE html>\n<html>404</html>" * 9, "begins with '<!DOCTYPE html>'", "log in"),
    "JSON": (b'{"error": "Unauthorized"}\n' * 9, """begins with '{"error": "Unauthorized"}'""", "Download"),
    "text": (
        "Zugriff verweigert, größer als\n".encode() * 9,
        "begins with 'Zugriff verweigert, größer als'",
        "Download",
    ),
    "cut inside a letter": (b"a" * 511 + "ü".encode() + b"b" * 50, "begins with 'aaaa", "Download"),
}


@pytest.mark.parametrize("kind", FIRST_LINES)
def test_text_in_place_of_a_file_is_quoted(kind, write):
    content, line, to_do = FIRST_LINES[kind]
    with pytest.raises(CheckpointError) as error:
        SafetensorsFile.open(write(content))
    assert line in str(error.value) and to_do in str(error.value)
    assert len(str(error.value)) < 600


def test_binary_is_not_quoted(write):
    with pytest.raises(CheckpointError) as error:
        SafetensorsFile.open(write(bytes(range(1, 256)) * 4))
    assert "begins with" not in str(error.value)


def _filled(unit: bytes, begin: bytes, end: bytes) -> bytes:
    size = MAX_HEADER_BYTES - len(begin) - len(end)
    return begin + (unit * (size // len(unit) + 1))[: size // len(unit) * len(unit)].rstrip(b",") + end


def _entries() -> bytes:
    lines = (b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(MAX_HEADER_BYTES // 60))
    return b"{" + b",".join(lines) + b"}"


LARGE_HEADERS = {
    "tensors": _entries,
    "one name": lambda: _filled(b'"a":1,', b"{", b"}"),
    "lists": lambda: _filled(b"[],", b'{"a":[', b"]}"),
    "tables": lambda: _filled(b"{},", b'{"a":[', b"]}"),
    "numbers": lambda: _filled(b"1e1,", b'{"a":[', b"]}"),
    "deep": lambda: _filled(b"[", b'{"a":', b"}"),
    "metadata of many names": lambda: _filled(b'"a":"",', b'{"__metadata__":{', b"}}"),
    "shape": lambda: _filled(b"1,", b'{"a":{"dtype":"U8","data_offsets":[0,1],"shape":[', b"]}}"),
}


@pytest.mark.parametrize("kind", LARGE_HEADERS)
def test_the_largest_hostile_header_is_refused_at_once(kind, write):
    """Headers are read while ComfyUI's server waits: the work is bounded before anything is built."""
    path = write(raw(LARGE_HEADERS[kind]()))
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(CheckpointError, match="eight times as many as LTX-2.3 has"):
        SafetensorsFile.open(path)
    seconds, memory = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 2
    assert memory < 8 * MAX_HEADER_BYTES


def test_a_header_as_large_as_files_need_is_read(write):
    """Every layer of LTX-2.3 quantised with four entries, and a workflow with a picture inside in the metadata."""
    names = [f"model.diffusion_model.transformer_blocks.{i}.{part}" for i in range(6000)
             for part in ("weight", "weight_scale", "weight_scale_2", "comfy_quant")]  # fmt: skip
    header = {name: entry("U8", (8,), (8 * i, 8 * i + 8)) for i, name in enumerate(names)}
    nodes = [{"id": i, "type": "X", "pos": [i, 2], "inputs": [{"name": "a"}], "text": '"\\,['} for i in range(20_000)]
    workflow = json.dumps({"nodes": nodes, "picture": "A" * 5_000_000})
    path = write(raw({"__metadata__": {"workflow": workflow}, **header}, b"\0" * 8 * len(names)))
    begin = time.process_time()
    file = SafetensorsFile.open(path)
    assert time.process_time() - begin < 3
    assert file.metadata["workflow"] == workflow and len(file.tensors) == 24_000


def test_names_are_as_long_as_a_thousand_characters(write):
    """Names are told by patterns that take the square of their length."""
    assert SafetensorsFile.open(write(raw({"n" * 1000: entry()}, bytes(8)))).tensors
    start = time.monotonic()
    with pytest.raises(
        CheckpointError, match="a tensor's name has 160,000 characters .'encoder.*, and more than"
    ) as told:
        SafetensorsFile.open(write(raw({"encoder." * 20_000: entry()}, bytes(8))))
    assert time.monotonic() - start < 1 and len(str(told.value)) < 600


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        SafetensorsFile.open(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="it is a folder"):
        SafetensorsFile.open(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        SafetensorsFile.open(tmp_path / ("x" * 300))


def test_reading_names_that_are_not_there_and_files_that_changed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    file = SafetensorsFile.open(path)
    with pytest.raises(CheckpointError, match="no tensor 'b'"):
        file.read(["a", "b"])
    good = path.read_bytes()
    os.utime(path, ns=(1, 1))
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(CheckpointError, match="cannot be read as it was when it was opened"):
        file.read(["a"])
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        file.read(["a"])


def test_every_cut_of_a_good_file_is_refused(write):
    content = save({"a": torch.randn(4), "b": torch.randn(3, dtype=torch.bfloat16)}, {"config": "{}"})
    for length in range(len(content)):
        with pytest.raises(CheckpointError):
            SafetensorsFile.open(write(content[:length]))
    assert len(SafetensorsFile.open(write(content)).tensors) == 2


def test_large_tensors_are_mapped_not_read(tmp_path):
    """1 GB on paper, no disk and little memory."""
    path = tmp_path / "large.safetensors"
    header = raw({"a": entry("BF16", (2**29,), (0, 2**30))})
    path.write_bytes(header)
    os.truncate(path, len(header) + 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensor = SafetensorsFile.open(path).read(["a"])["a"]
    assert tensor.shape == (2**29,)
    assert tensor[2**28] == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


LARGER_THAN_MEMORY = """
import resource, sys
from ltx_core.checkpoint import Checkpoint, Component
from ltx_core.inspect import inspect_file
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
checkpoint = Checkpoint.open(sys.argv[1])
checkpoint.check_finite(Component.UPSAMPLER)
report, _ = inspect_file(sys.argv[1])
assert "no 'config'" in report.problems[0], report.problems
"""


def test_a_file_may_be_larger_than_memory(tmp_path):
    """Also where mapping it as a whole is refused: 64 tensors of 1 GB in 40 GB of address space."""
    names = ["initial_conv.weight", "post_upsample_res_blocks.0.conv1.weight"]
    names += [f"res_blocks.{i}.conv1.weight" for i in range(62)]
    size = 2**30
    header = raw({n: entry("BF16", (size // 2,), (i * size, (i + 1) * size)) for i, n in enumerate(names)})
    path = tmp_path / "large.safetensors"
    path.write_bytes(header)
    os.truncate(path, len(header) + len(names) * size)
    command = [sys.executable, "-c", LARGER_THAN_MEMORY, str(path), str(40 * 2**30)]
    done = subprocess.run(command, cwd=PACK, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_many_tensors_take_few_file_handles(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({f"t{i}": torch.tensor([float(i)]) for i in range(3000)}, path)
    before = len(os.listdir("/proc/self/fd"))
    tensors = SafetensorsFile.open(path).read(f"t{i}" for i in reversed(range(3000)))
    assert [int(tensor) for tensor in tensors.values()] == list(reversed(range(3000)))
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_tensors_are_ones_own(tmp_path):
    """What is written to them stays in memory: the file and later readers keep their numbers."""
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(5.0), "odd": torch.arange(3, dtype=torch.uint8)}, path)
    file = SafetensorsFile.open(path)
    file.read(["a"])["a"].add_(1)
    assert file.read(["a"])["a"].tolist() == [0, 1, 2, 3, 4]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
SIZES = st.lists(st.integers(-1, 9) | st.sampled_from([2**31, 2**63, 2**64, 10**30]), max_size=4)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "F6_E2M3", "BOOL", "F8_E4M3", "nonsense"]) | JSON,
        "shape": SIZES | JSON,
        "data_offsets": SIZES | JSON,
    }
)
HEADERS = st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), ENTRIES | JSON, max_size=5)


def opens_or_is_refused(path) -> None:
    try:
        file = SafetensorsFile.open(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        file.read(name for name, info in file.tensors.items() if info.dtype in ("F32", "BF16", "U8"))


@settings(max_examples=150, deadline=2000)
@given(header=HEADERS, data=st.binary(max_size=24))
def test_any_header_opens_or_is_refused(header, data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(raw(header, data))
    opens_or_is_refused(path)


@settings(max_examples=150, deadline=2000)
@given(content=st.binary(max_size=200), length=st.none() | st.integers(0, 2**64 - 1))
@example(content=b"{}", length=2**64 - 1)
@example(content=b"{" + b" " * 50, length=MAX_HEADER_BYTES)
def test_any_bytes_open_or_are_refused(content, length, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(content if length is None else struct.pack("<Q", length) + content)
    opens_or_is_refused(path)


GOOD = save({"a": torch.randn(4), "b": torch.randn(3, dtype=torch.bfloat16), "c": torch.zeros(0)}, {"config": "{}"})


@settings(max_examples=150, deadline=2000)
@given(place=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_any_changed_byte_is_harmless(place, value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
    opens_or_is_refused(path)
