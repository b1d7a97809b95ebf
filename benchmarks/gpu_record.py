"""The last run on a GPU: what passed, how fast it was, and of which files that is known.

`gpu_check.py` writes it; the test suite says at its end whether it still holds.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("gpu_record.json")
# What runs on the GPU.
FOLDERS = ("ltx_core", "nodes/comfyui")
SLOWER = 1.05


@dataclass(frozen=True)
class Record:
    """`files`: digest by path.  `passed`: names of tests.  `milliseconds`: ours, by "case, contender"."""

    date: str
    card: str
    torch: str
    commit: str
    digest: str
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    milliseconds: Mapping[str, float]
    files: Mapping[str, str]


def read(path: Path = FILE) -> Record | None:
    if not path.is_file():
        return None
    values = json.loads(path.read_text())
    return Record(**values | {name: tuple(values[name]) for name in ("passed", "failed")})


def write(record: Record, path: Path = FILE) -> None:
    path.write_text(json.dumps(asdict(record), indent=1) + "\n")


def digests(pack: Path = PACK) -> dict[str, str]:
    """The Python files of FOLDERS, each with the beginning of its SHA-256."""
    paths = sorted(path for folder in FOLDERS for path in (pack / folder).rglob("*.py"))
    return {path.relative_to(pack).as_posix(): _digest(path.read_bytes()) for path in paths}


def digest(files: Mapping[str, str]) -> str:
    """One for all files."""
    return _digest(json.dumps(sorted(files.items())).encode())


def changed(record: Record, files: Mapping[str, str]) -> list[str]:
    """The files that are new, gone or different since the record."""
    return sorted(path for path in record.files.keys() | files.keys() if record.files.get(path) != files.get(path))


def summary(record: Record | None, files: Mapping[str, str]) -> list[str]:
    """What the end of the test run says."""
    if record is None:
        return ["nothing has been run on a GPU: python benchmarks/gpu_check.py"]
    lines = [f"{record.date}, {record.card}: {len(record.passed)} tests passed, {len(record.failed)} failed"]
    lines += [f"failed: {name}" for name in record.failed]
    if found := changed(record, files):
        lines.append(f"{len(found)} files changed since; run `python benchmarks/gpu_check.py` on a GPU: {_few(found)}")
    return lines


def figures(report: Mapping) -> dict[str, float]:
    """Milliseconds of ours by "case, contender", of a report by gpu.py."""
    result = {
        f"{case}, {name}": row["median_ms"]
        for case, rows in report["cases"].items()
        for name, row in rows.items()
        if name.startswith("ours")
    }
    for name, stages in report.get("denoise", {}).items():
        result |= {f"denoise {stage}, {name}": round(1000 * seconds, 2) for stage, seconds in stages.items()}
    return result


def slower(record: Record | None, card: str, milliseconds: Mapping[str, float]) -> list[str]:
    """A line for every figure that is more than 5 % above the recorded one of the same kind of card."""
    if record is None or record.card != card:
        return []
    old = record.milliseconds
    return [
        f"{name}: {value:.1f} ms, was {old[name]:.1f}"
        for name, value in milliseconds.items()
        if name in old and value > SLOWER * old[name]
    ]


def _few(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
