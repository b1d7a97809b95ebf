"""The folder of the films: who may write, what stands there already, and how a film gets there whole or not at all."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .clips import Clip, differences
from .faults import BatchError
from .manifest import DONE, FAILED, Manifest

LOCK = ".batch.lock"
PART = ".part"
_ROOM = "Make room, and start again: what is made stays."


class OutputFolder:
    """DIR, its manifest and its films; use it in a `with` statement.  BatchError while another batch writes there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock: FileLock | None = None
        self.manifest: Manifest | None = None

    def __enter__(self) -> "OutputFolder":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.folder / LOCK)
            self.lock.acquire(timeout=0)
            self.manifest = Manifest(self.folder)
            self._finish()
        except Timeout:
            raise BatchError(
                f"Another batch writes to {self.folder}: wait for its end, stop it, or take another --out."
            ) from None
        except OSError as error:
            self.__exit__()
            raise BatchError(f"Nothing can be written to {self.folder}: {error}. Take another --out.") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.manifest is not None:
            with suppress(OSError):
                self._finish()  # what was being kept when somebody pressed Ctrl-C
            self.manifest.close()
        if self.lock is not None:
            self.lock.release()

    def path_of(self, name: str) -> Path:
        return self.folder / f"{name}.mp4"

    def _part_of(self, name: str) -> Path:
        return self.folder / f".{name}.mp4{PART}"

    def _finish(self) -> None:
        """A film is whole on the disk, then in the manifest, then has its name: ends what was stopped in between."""
        for part in self.folder.glob(f".*.mp4{PART}"):
            name = part.name.removeprefix(".").removesuffix(f".mp4{PART}")
            entry = self.manifest.film(name)
            if entry is not None and _sha256(part.read_bytes()) == entry["sha256"]:
                os.replace(part, self.path_of(name))
            else:
                part.unlink()

    def standing(self, clip: Clip) -> tuple[bool, str | None]:
        """Whether the clip is there already, and what speaks against making it, in words."""
        path, entry = self.path_of(clip.name), self.manifest.film(clip.name)
        if entry is not None and entry["name"] != clip.name and self.path_of(entry["name"]).exists():
            return False, f"{entry['name']}.mp4 is there, a name that differs in case alone: choose another name"
        if not path.exists():
            return False, None
        if entry is None:
            return False, f"{path.name} is there, and the manifest does not know it: move it away"
        if entry["settings_sha256"] != clip.digest:
            return False, f"{path.name} was made with other settings: {differences(entry['settings'], clip.settings)}"
        if path.stat().st_size != entry["bytes"]:
            return False, f"{path.name} is not what the manifest says ({entry['bytes']} bytes): delete it"
        return True, None

    def keep(self, clip: Clip, film: bytes, facts: Mapping[str, Any]) -> None:
        """Writes a film and its line; after a power cut both are there or none."""
        part = self._part_of(clip.name)
        try:
            with part.open("wb") as file:
                file.write(film)
                file.flush()
                os.fsync(file.fileno())
            _sync(self.folder)
            found = {"file": self.path_of(clip.name).name, "sha256": _sha256(film), "bytes": len(film)}
            self.manifest.add(_line(clip, DONE, found | dict(facts)))
            os.replace(part, self.path_of(clip.name))
            _sync(self.folder)
        except OSError as error:
            raise BatchError(f"{self.path_of(clip.name)} cannot be written: {error}. {_ROOM}") from None

    def fail(self, clip: Clip, reason: str, facts: Mapping[str, Any]) -> None:
        """Writes down that a clip cannot be made; the next batch tries it again."""
        try:
            self.manifest.add(_line(clip, FAILED, {"error": reason} | dict(facts)))
        except OSError as error:
            raise BatchError(f"{self.manifest.path} cannot be written: {error}. {_ROOM}") from None


def _line(clip: Clip, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {
        "name": clip.name,
        "status": status,
        "seed": clip.job.seed,
        **facts,
        "finished": now,
        "settings_sha256": clip.digest,
        "settings": clip.settings,
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(folder: Path) -> None:
    """The names in a folder on the disk, where the system can do that (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
