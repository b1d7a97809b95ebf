"""Downloads that are not finished: by what lies beside them, by what was never written, by weights of zeros."""

import os

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.safetensors_file import SafetensorsFile
from ltx_duo.ltx_core.unfinished import hole, marks, signs

MARKS = [
    "x.safetensors.aria2", "x.safetensors.part", "x.safetensors.crdownload", "x.safetensors.!qB",
    "x.safetensors.tmp", "x.safetensors.4f1c.incomplete", "x.PqY-3_zA.safetensors.part",
    ".cache/huggingface/download/x.safetensors.4f1c.incomplete",
    # What huggingface_hub 2.4 calls it: a hash of "x.safetensors.metadata", then the file's.
    ".cache/huggingface/download/7gp0DbhM0y19Q2eASCtcqXu0hG8=.4f1c.incomplete",
]  # fmt: skip
OTHERS = [
    "y.safetensors.part",
    "x.safetensors",
    "x.safetensors.json",
    "x.fp8.safetensors.part",
    "x-2.safetensors.aria2",
]
NAMES = ("initial_conv.weight", "post_upsample_res_blocks.0.conv1.weight", "res_blocks.0.conv1.weight")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def put(path, mark: str) -> None:
    place = path.parent / mark
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def weights(*zeros: str) -> dict[str, torch.Tensor]:
    """Matrices of 160 kB in this order."""
    return {name: torch.zeros(400, 200) if name in zeros else torch.rand(400, 200) for name in NAMES}


@pytest.mark.parametrize("mark", MARKS)
def test_marks(path, mark):
    put(path, mark)
    assert [found.endswith(mark.rpartition("/")[2]) for found in marks(path)] == [True]
    assert "lies beside it" in signs(path)


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_mark(path, other):
    put(path, other)
    assert not list(marks(path))


def test_a_mark_explains_a_file_that_is_cut_short(path):
    save_file(weights(), path)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(CheckpointError, match="damaged or incomplete: download it again"):
        SafetensorsFile.open(path)
    put(path, "x.safetensors.aria2")
    with pytest.raises(CheckpointError, match=r"not finished \(x.safetensors.aria2 lies beside it\): wait"):
        SafetensorsFile.open(path)


def test_a_mark_explains_a_shard_that_is_missing(tmp_path):
    save_file(weights(), tmp_path / "model-00001-of-00002.safetensors")
    put(tmp_path / "x", ".cache/huggingface/download/model-00002-of-00002.safetensors.4f1c.incomplete")
    with pytest.raises(CheckpointError, match="lacks model-00002-of-00002.safetensors.*not finished .*4f1c.incomplete"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("written", [0, 3_000_000, 20_000_000])
def test_a_part_that_was_never_written(path, written):
    path.write_bytes(b"x" * written)
    os.truncate(path, 30_000_000)
    begin, size = hole(path)
    assert 0 <= begin - written < 2**20 and begin + size == 30_000_000
    assert "MB of it, from byte" in signs(path)


def test_a_hole_in_the_middle(path):
    with path.open("wb") as file:
        for place in (0, 2_100_000, 9_000_000):
            file.seek(place)
            file.write(b"x" * 2_000_000)
    begin, size = hole(path)
    assert 4_100_000 <= begin < 4_200_000 and 4_700_000 < size < 4_900_000


@pytest.mark.parametrize("content", [b"", b"x" * 3_000_000, b"\0" * 3_000_000])
def test_what_was_written_is_no_hole(path, content):
    path.write_bytes(content)
    assert hole(path) is None and signs(path) is None
    assert hole(path.parent / "gone") is None


class TestZeros:
    def check(self, path) -> None:
        Checkpoint.open(path).check_finite(Component.UPSAMPLER)

    @pytest.mark.parametrize("zeros", [NAMES[:1], NAMES[:2], NAMES[2:], NAMES[::2]])
    def test_alone_they_are_no_fault(self, path, zeros):
        save_file(weights(*zeros), path)
        self.check(path)

    def test_with_a_mark(self, path):
        save_file(weights(NAMES[0]), path)
        put(path, "x.safetensors.part")
        with pytest.raises(CheckpointError, match="initial_conv.weight in .* nothing but zeros.*x.safetensors.part"):
            self.check(path)

    def test_a_mark_without_zeros(self, path):
        save_file(weights(), path)
        put(path, "x.safetensors.part")
        self.check(path)

    def test_up_to_the_end_of_the_file(self, path):
        save_file(weights(*NAMES[1:]), path)
        with pytest.raises(
            CheckpointError, match="post_upsample.* zeros, and so do the file's last matrices, post_up.*not fin"
        ):
            self.check(path)

    def test_tables_of_zeros_at_the_end(self, path):
        """As the vocoder's inverse basis, which nothing uses."""
        save_file(weights(NAMES[0]) | {"zz_basis": torch.zeros(400, 200), "zz.weight": torch.zeros(9)}, path)
        self.check(path)
