"""Headers of GGUF files: what is read, and that whatever is wrong ends in one clear error, soon."""

import random
import struct
import sys
import time

import gguf
import pytest
import torch

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES
from ltx_duo.ltx_core.gguf_file import MAX_LIST, GgufFile, PackedInfo
from ltx_duo.ltx_core.safetensors_file import TensorInfo
from ltx_duo.tests import gguf_samples as samples

Q8 = BLOCK_TYPES["Q8_0"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.fixture
def tensors(rng):
    return {
        "transformer_blocks.0.attn1.to_q.weight": ("Q8_0", torch.randn(4, 64, generator=rng)),
        "transformer_blocks.0.attn1.to_q.bias": ("F32", torch.randn(4, generator=rng)),
        "scale_shift_table": ("BF16", torch.randn(2, 8, generator=rng)),
        "proj_out.weight": ("F16", torch.randn(3, 8, generator=rng)),
    }


def test_shapes_kinds_and_numbers(path, tensors):
    file = GgufFile.open(samples.write(path, "ltxv", tensors, {"config": "{}", "model_version": "2.3"}))
    assert file.architecture == "ltxv" and file.metadata["config"] == "{}" and not file.has_vocabulary()
    assert file.tensors["transformer_blocks.0.attn1.to_q.weight"] == PackedInfo("Q8_0", (4, 64), (4, 68), Q8)
    assert file.tensors["scale_shift_table"] == TensorInfo("BF16", (2, 8))
    assert file.size == 4 * 68 + 4 * 4 + 2 * 8 * 2 + 3 * 8 * 2
    found = {name: tensor for part in file.parts() for name, tensor in part.items()}
    for name, (kind, tensor) in tensors.items():
        plain = Q8.expand(found[name]) if kind == "Q8_0" else found[name].float()
        assert torch.equal(plain, samples.expanded(kind, tensor)), name
    assert [found["scale_shift_table"].dtype, found["proj_out.weight"].dtype] == [torch.bfloat16, torch.float16]


def test_shapes_of_more_dimensions_stand_in_the_metadata(path, rng):
    numbers = torch.randn(2, 96, generator=rng)
    writer = gguf.GGUFWriter(path, "ltxv")
    writer.add_array("comfy.gguf.orig_shape.weights", [2, 1, 3, 1, 32])
    writer.add_tensor("weights", gguf.quantize(numbers.numpy(), gguf.GGMLQuantizationType.Q8_0), raw_dtype=8)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    assert GgufFile.open(path).tensors["weights"].shape == (2, 1, 3, 1, 32)


def test_gemma_has_hugging_faces_names_and_norms(path, rng):
    norm = torch.randn(8, generator=rng)
    stored = {
        "token_embd.weight": ("F16", torch.randn(5, 8, generator=rng)),
        "output_norm.weight": ("F32", norm),
        "blk.1.post_ffw_norm.weight": ("F32", norm),
        "blk.1.attn_q_norm.weight": ("F32", norm),
        "blk.1.ffn_gate.weight": ("F32", torch.randn(4, 8, generator=rng)),
    }
    file = GgufFile.open(samples.write(path, "gemma3", stored))
    inside = "model.layers.1."
    assert set(file.tensors) == {
        "model.embed_tokens.weight", "model.norm.weight", f"{inside}post_feedforward_layernorm.weight",
        f"{inside}self_attn.q_norm.weight", f"{inside}mlp.gate_proj.weight",
    }  # fmt: skip
    read = file.read(file.tensors)
    assert torch.equal(read["model.norm.weight"], norm - 1)
    assert torch.equal(read[f"{inside}self_attn.q_norm.weight"], norm - 1)
    assert torch.equal(read[f"{inside}mlp.gate_proj.weight"], stored["blk.1.ffn_gate.weight"][1])


def test_a_checkpoint_opens_it(path, tensors):
    checkpoint = Checkpoint.open(samples.write(path, "ltxv", tensors))
    assert checkpoint.components == {Component.TRANSFORMER}
    samples.write(path, "wan", {"blocks.0.weight": ("F32", torch.zeros(2))})
    with pytest.raises(CheckpointError, match="1 tensors of a 'wan'"):
        Checkpoint.open(path)


def header(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def listed(kind: int, count: int) -> bytes:
    return key("a", 9, struct.pack("<IQ", kind, count))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"GGUF", "ends inside its header"),
        (b"<html>", "a web page"),
        (b"PK\x03\x04", "a zip archive"),
        (b"anything else", "not in the GGUF format"),
        (header(version=1), "version 1"),
        (header(version=3 << 24), "version"),
        (header(tensors=2**60), "announces"),
        (header(keys=2**60), "announces"),
        (header(keys=3), "cannot be read"),
        (header(tensors=3), "cannot be read"),
        (header(keys=1) + listed(0, 2**60), "cannot be read"),
        (header(keys=1) + listed(0, 10**6), "cannot be read"),
        (header(keys=1) + listed(8, MAX_LIST), "cannot be read"),
        (header(keys=1) + listed(9, 1) + bytes(64), "cannot be read"),
        (header(keys=1) + listed(77, 1) + bytes(64), "cannot be read"),
        (header(keys=1) + key("a", 8, struct.pack("<Q", 2**63)), "cannot be read"),
        (header(keys=2) + 2 * key("a", 0, b"\0"), "cannot be read"),
        (header(keys=1) + key("split.count", 2, b"\3\0") + bytes(32), "one of several parts"),
        (header(tensors=1) + struct.pack("<QIQIQ", 0, 1, 2**62, 0, 0) + bytes(64), "cannot be read"),
        (header(tensors=1) + struct.pack("<QIQIQ", 0, 1, 32, 999, 0) + bytes(64), "does not know"),
        (header(tensors=1) + struct.pack("<QIQIQ", 0, 1, 33, 8, 0) + bytes(64), "cannot be read"),
    ],
)
def test_bad_files_end_in_one_error(path, content, words):
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=words):
        GgufFile.open(path)
    assert time.monotonic() - start < 2


def test_long_names_are_refused(path):
    name = b"encoder." * 1000
    tensor = struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 32, 0, 0)
    path.write_bytes(header(tensors=1) + tensor + bytes(256))
    with pytest.raises(CheckpointError, match="a tensor's name has 8,000 characters"):
        GgufFile.open(path)


def test_folders_and_missing_files(tmp_path):
    for name, words in ((".", "it is a folder"), ("absent.gguf", "no such file")):
        with pytest.raises(CheckpointError, match=words):
            GgufFile.open(tmp_path / name)


def test_whatever_the_bytes_are(path, tensors):
    """Cut short anywhere, or with wrong bytes in its header: an error of ours, or a file that can be read."""
    vocabulary = ([f"t{number}" for number in range(20)], [0.0] * 20, [1] * 20)
    whole = samples.write(path, "ltxv", tensors, {"config": "{}"}, vocabulary).read_bytes()
    end = whole.index(b"proj_out.weight") + 60
    chance = random.Random()
    for _ in range(400):
        content = bytearray(whole)
        if chance.random() < 0.3:
            del content[chance.randrange(len(content)) :]
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(min(end, len(content) or 1))
            content[place : place + 1] = bytes([chance.choice((0, 1, 255, chance.randrange(256)))])
        path.write_bytes(content)
        start = time.monotonic()
        try:
            file = GgufFile.open(path)
            for name in file.tensors:
                file.numbers(name)
            if file.has_vocabulary():
                file.vocabulary()
        except CheckpointError:
            pass
        assert time.monotonic() - start < 2, bytes(content[:end])


def test_without_the_package(path, tensors, monkeypatch):
    samples.write(path, "ltxv", tensors)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match="not installed. Run .* -m pip install gguf") as told:
        GgufFile.open(path)
    assert "damaged" not in str(told.value)


def test_changed_meanwhile(path, tensors):
    file = GgufFile.open(samples.write(path, "ltxv", tensors))
    path.write_bytes(path.read_bytes() + bytes(32))
    with pytest.raises(CheckpointError, match="as it was when it was opened; expected a complete .gguf"):
        file.check_unchanged()
