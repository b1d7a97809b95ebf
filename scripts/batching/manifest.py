"""The record of a folder of films: JSON lines, one for each film that was made or that failed; lines are only added."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .faults import BatchError

NAME = "manifest.jsonl"
DONE, FAILED = "done", "failed"


class Manifest:
    """The manifest of a folder, open for adding; `films` has the newest line of each that was made.

    A line that was cut off when the machine went down is taken away: it was never complete.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.films: dict[str, Mapping[str, Any]] = {}
        self._file: BinaryIO = self.path.open("a+b")
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        complete = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self._file.truncate(complete)
                break
            complete += len(line)
            self._remember(_entry(line, number, self.path))

    def _remember(self, entry: Mapping[str, Any]) -> None:
        if entry["status"] == DONE:
            self.films[entry["name"].casefold()] = entry

    def film(self, name: str) -> Mapping[str, Any] | None:
        """The newest line of a film that was made, under this name or one that differs in case alone."""
        return self.films.get(name.casefold())

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds a line, which is on the disk when this returns."""
        self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._remember(entry)

    def close(self) -> None:
        with suppress(OSError):  # a full disk has been told of; the rest of that line goes at the next start
            self._file.close()


def _entry(line: bytes, number: int, path: Path) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    wanted = {"name": str, "status": str, "settings": dict, "settings_sha256": str}
    if isinstance(entry, dict) and entry.get("status") == DONE:
        wanted |= {"sha256": str, "bytes": int}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in wanted.items()):
        raise BatchError(
            f"{path}, line {number}, is not what this script writes. Put a copy of it back, or take another --out."
        )
    return entry
