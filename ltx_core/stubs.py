"""What lies where a model file should be: pointers, web pages, archives and other stubs, known by how they begin."""

import json
from pathlib import Path
from typing import Any

from .errors import CheckpointError

LOOKED_AT = 512  # bytes of the beginning that tell
MAX_JSON_BYTES = 4_000_000  # configs take a few thousand
_SHOWN = 80  # characters of the first line

_AGAIN = "Download the file again."
# Beginning, what it is, what to do.
_KINDS = (
    (b"PK\x03\x04", "a zip archive, probably a PyTorch .pt/.ckpt file", "Download the .safetensors version of it."),
    (b"GGUF", "a GGUF file", "Download the .safetensors version of it."),
    (b"\x80", "a pickle, probably an old PyTorch .pt/.bin file", "Download the .safetensors version of it."),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, a few lines of text instead of the file itself",
        "Run 'git lfs pull' in its folder, or download the file itself from its page.",
    ),
    (
        b"<",
        "a web page: the download saved an error or log-in page",
        "Open its page in a browser, log in and accept the licence if it asks, and download the file again.",
    ),
    (b"\0" * 8, "nothing but zeros at its beginning: the download is not finished, or was broken off", _AGAIN),
)


def stub(start: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, with its first line if it is text, and what to do; None for what is not known."""
    found = next(((kind, to_do) for begin, kind, to_do in _KINDS if start.lstrip().startswith(begin)), None)
    if found is None:
        return None
    kind, to_do = found
    return kind + shown(start), to_do


def shown(start: bytes) -> str:
    """The first line of a text, for a message; empty for what is no text."""
    line = start.lstrip().splitlines()[0] if start.strip() else b""
    text = line.decode("utf-8", "replace")
    if not text or text.count("\ufffd") > 1 or not text.rstrip("\ufffd").isprintable():
        return ""
    return f" (it begins with {text[:_SHOWN]!r})"


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The table in a small JSON file beside the weights.

    FileNotFoundError if there is none; CheckpointError, which says what lies there instead, if it is no JSON table.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); expected {expected}. Check its permissions.") from None
    check_json(path, raw[:LOOKED_AT], expected)
    if len(raw) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} has more than {MAX_JSON_BYTES:,} bytes; expected {expected}, which is small.")
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); expected {expected}. {_AGAIN}") from None
    if not isinstance(table, dict):
        raise CheckpointError(f"{path} is not a JSON table; expected {expected}. {_AGAIN}")
    return table


def check_json(path: Path, start: bytes, expected: str) -> None:
    """CheckpointError unless a file that begins with `start` can be a JSON text."""
    if not start.strip():
        raise CheckpointError(f"{path} is empty; expected {expected}. {_AGAIN}")
    if not start.lstrip().startswith((b"{", b"[")):
        kind, to_do = stub(start) or (f"not JSON{shown(start)}", _AGAIN)
        raise CheckpointError(f"{path} is {kind}; expected {expected}. {to_do}")
