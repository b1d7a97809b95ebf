"""Files below a folder, for the lists of loaders.  Whatever lies there, a list never fails, and takes bounded time.

ComfyUI asks for each list several times a prompt.  What was read is kept until a folder changes.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass

# How many ways lead to one folder at most: links that cross each other would make endlessly many.
WAYS = 4
# A folder that changed so shortly before it was read may change again without another date.
SETTLED_NS = 2_000_000_000

_Marks = tuple[int, int] | None


@dataclass(frozen=True)
class FoundFile:
    """A file by its path below the folder that was asked for; `mtime` in seconds."""

    name: str
    mtime: float


@dataclass(frozen=True)
class _Listing:
    files: tuple[FoundFile, ...]
    folders: dict[str, _Marks]
    read_at_ns: int

    def still_holds(self) -> bool:
        return all(
            marks == _marks(path) and (marks is None or max(marks) < self.read_at_ns - SETTLED_NS)
            for path, marks in self.folders.items()
        )


_kept: dict[tuple, _Listing] = {}


def files_below(root: str, endings: tuple[str, ...], follow_links: bool) -> tuple[FoundFile, ...]:
    """All files whose names end like that, in lower case.

    Files that vanish meanwhile, links to nowhere and folders that cannot be read are not there.  `follow_links`: also
    into folders that are links, without going round in circles.
    """
    key = (root, endings, follow_links)
    kept = _kept.get(key)
    if kept is None or not kept.still_holds():
        kept = _kept[key] = _read(*key)
    return kept.files


def _read(root: str, endings: tuple[str, ...], follow_links: bool) -> _Listing:
    read_at, folders, files = time.time_ns(), {}, []
    ways: Counter = Counter()
    waiting: list[tuple[str, frozenset]] = [(root, frozenset())]
    start = len(os.path.join(root, ""))
    while waiting:
        folder, above = waiting.pop()
        folders[folder] = _marks(folder)
        try:
            stat = os.stat(folder)
            place = (stat.st_dev, stat.st_ino)
            if stat.st_ino and (place in above or ways[place] >= WAYS):
                continue
            ways[place] += 1
            with os.scandir(folder) as opened:
                entries = list(opened)
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=follow_links):
                    if entry.name != ".git":
                        waiting.append((entry.path, above | {place}))
                elif entry.name.lower().endswith(endings) and entry.is_file():
                    files.append(FoundFile(entry.path[start:], entry.stat().st_mtime))
            except OSError:
                continue
    return _Listing(tuple(files), folders, read_at)


def _marks(folder: str) -> _Marks:
    """What changes when the folder's content or its permissions do; None where it is gone."""
    try:
        stat = os.stat(folder)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns
