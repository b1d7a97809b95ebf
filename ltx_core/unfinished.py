"""Signs that a download is not finished: what programs leave beside the file, and parts of it that nobody wrote."""

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# aria2, browsers, download managers, curl and torrent programs; in lower case.
_MARKS = (
    ".aria2", ".part", ".partial", ".crdownload", ".opdownload", ".download", ".incomplete", ".filepart", ".tmp",
    ".!qb", ".!ut", ".bc!",
)  # fmt: skip
_SMALLEST_HOLE = 2**20  # copying may leave out a few zeros
_MOST_HOLES = 1000
_LEVELS = 3  # folders above the file that may be what Hugging Face downloads into


def signs(path: Path) -> str | None:
    """What speaks for an unfinished download of a file, as the end of a sentence; None for nothing."""
    if mark := next(marks(path), None):
        return f"{mark} lies beside it"
    if gap := hole(path):
        return f"{gap[1] / 1e6:,.0f} MB of it, from byte {gap[0]:,} on, were never written"
    return None


def marks(path: Path) -> Iterator[str]:
    """Names of the unfinished downloads of a file, which need not be there: in its folder, then in Hugging Face's."""
    # Firefox puts a word of its own before the ending.
    firefox = re.compile(rf"{re.escape(path.stem)}\.[\w-]{{8}}{re.escape(path.suffix)}\.part", re.IGNORECASE)
    for name in _names(path.parent):
        if name.startswith(path.name) and name.lower().endswith(_MARKS) or firefox.fullmatch(name):
            yield name
    # Its names begin with the file's, or with a hash of it.
    hashed = base64.urlsafe_b64encode(hashlib.sha1(f"{path.name}.metadata".encode()).digest()).decode()
    for root in list(path.parents)[:_LEVELS]:
        cache = root / ".cache" / "huggingface" / "download" / path.parent.relative_to(root)
        for name in _names(cache):
            if name.startswith((path.name, hashed)) and name.endswith(".incomplete"):
                yield str(cache / name)


def hole(path: Path) -> tuple[int, int] | None:
    """Where a megabyte or more of the file was never written, and how many bytes; None if all was.

    None too where the file system does not tell; one that compresses may count zeros as never written.
    """
    if not hasattr(os, "SEEK_HOLE"):
        return None
    try:
        with path.open("rb") as file:
            size, end = os.fstat(file.fileno()).st_size, 0
            for _ in range(_MOST_HOLES):
                begin = os.lseek(file.fileno(), end, os.SEEK_HOLE)
                if begin >= size:
                    return None
                end = _next_data(file.fileno(), begin, size)
                if end - begin >= _SMALLEST_HOLE:
                    return begin, end - begin
    except OSError:
        pass
    return None


def _next_data(descriptor: int, begin: int, size: int) -> int:
    try:
        return os.lseek(descriptor, begin, os.SEEK_DATA)
    except OSError:  # there is none
        return size


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
