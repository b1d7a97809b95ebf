"""The record of the last GPU run tells which files it was of, and what became slower."""

import pytest

from ltx_duo.benchmarks import gpu_record
from ltx_duo.benchmarks.gpu_record import Record, changed, digest, digests, figures, slower, summary

CARD = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def pack(tmp_path):
    for name in ("ltx_core/a.py", "ltx_core/deep/b.py", "nodes/comfyui/c.py", "nodes/d.py", "tests/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def record_of(pack, **values) -> Record:
    files = digests(pack)
    plain = {"date": "2026-11-28", "card": CARD, "torch": "2.11", "commit": "c", "passed": ("t",), "failed": ()}
    return Record(**plain | {"digest": digest(files), "milliseconds": {}, "files": files} | values)


def test_what_changed_since_is_named(pack):
    record = record_of(pack)
    assert changed(record, digests(pack)) == []
    (pack / "nodes/d.py").write_text("not on the GPU")
    assert changed(record, digests(pack)) == []
    (pack / "ltx_core/deep/b.py").write_text("other")
    (pack / "ltx_core/new.py").write_text("new")
    (pack / "nodes/comfyui/c.py").unlink()
    names = ["ltx_core/deep/b.py", "ltx_core/new.py", "nodes/comfyui/c.py"]
    assert changed(record, digests(pack)) == names
    last = summary(record, digests(pack))[-1]
    assert last.startswith("3 files changed since") and all(name in last for name in names)
    assert digest(digests(pack)) != record.digest


def test_the_summary_of_a_record_that_fits(pack):
    lines = summary(record_of(pack, passed=("x", "y")), digests(pack))
    assert lines == [f"2026-11-28, {CARD}: 2 tests passed, 0 failed"]
    assert "nothing has been run on a GPU" in summary(None, digests(pack))[0]
    assert "failed: z" in summary(record_of(pack, failed=("z",)), digests(pack))


def test_it_survives_writing_and_reading(pack):
    record, path = record_of(pack, failed=("u",), milliseconds={"small, ours": 78.0}), pack / "record.json"
    gpu_record.write(record, path)
    assert gpu_record.read(path) == record
    assert gpu_record.read(pack / "none.json") is None


def test_five_per_cent_on_the_same_card_is_slower(pack):
    record = record_of(pack, milliseconds={"small, ours": 100.0, "decode, ours whole": 800.0})
    assert slower(record, CARD, {"small, ours": 104.9, "decode, ours whole": 700.0, "new": 1.0}) == []
    assert slower(record, CARD, {"small, ours": 105.1}) == ["small, ours: 105.1 ms, was 100.0"]
    assert slower(record, "NVIDIA H200", {"small, ours": 300.0}) == []
    assert slower(None, CARD, {"small, ours": 300.0}) == []


def test_figures_are_ours_of_every_case():
    rows = {"ours": {"median_ms": 78.2}, "vendor 1.0": {"median_ms": 690.0}, "ours fp8": {"median_ms": 61.0}}
    report = {"cases": {"small": rows}, "denoise": {"ours": {"together": 38.1234}}}
    expected = {"small, ours": 78.2, "small, ours fp8": 61.0, "denoise together, ours": 38123.4}
    assert figures(report) == pytest.approx(expected)
