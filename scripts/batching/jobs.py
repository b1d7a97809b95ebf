"""A list of films to make as JSON lines: what a job may say, and every fault with its line."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import BatchError, Faults, JobFault

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,119}")
MODALITIES, SCALES = ("video", "audio"), ("cfg", "stg", "modality", "rescale")
GUIDANCE_SCALES = tuple(f"{modality}_{scale}" for modality in MODALITIES for scale in SCALES)
NO_GUIDANCE = "none"
WHOLE, TILES = "whole", "tiles"


@dataclass(frozen=True)
class ImageFile:
    """An image that the film shows at a frame (negative: from the end); `crf` None: as the model learned."""

    path: Path
    frame: int = 0
    strength: float = 1.0
    crf: int | None = None


@dataclass(frozen=True)
class SoundFile:
    """A sound that the film is made to, from its second `start` on."""

    path: Path
    start: float = 0.0


@dataclass(frozen=True)
class Job:
    """One line of the list.  What is None is as the model, or the servers' workflow, has it.

    guidance: single values over the model's own, or "none".  inputs: NODE.INPUT -> value, for servers alone.
    """

    line: int
    prompt: str
    name: str | None = None
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    steps: int | None = None
    seed: int | None = None
    images: tuple[ImageFile, ...] = ()
    sound: SoundFile | None = None
    guidance: Mapping[str, Any] | str | None = None
    stage_one_sound: bool | None = None
    tiling: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


def read_jobs(path: Path) -> list[Job]:
    """All jobs of a file; Faults lists everything that is wrong in it.  Files are looked for beside the list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(
            f"The list {path} cannot be read: {error}. Give a text file in UTF-8, one job a line."
        ) from None
    jobs, faults = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                jobs.append(_job(line, number, path.absolute().parent))
            except JobFault as fault:
                faults.append(f"line {number}: {fault}")
    faults += _same_names(jobs)
    if faults:
        raise Faults(faults)
    if not jobs:
        raise BatchError(f"The list {path} holds no job: write one JSON object a line, at least with a prompt.")
    return jobs


def _job(line: str, number: int, folder: Path) -> Job:
    said = {key: value for key, value in _object(_parsed(line), "a job").items() if value is not None}
    _known(said, _KEYS, "a job")
    if "prompt" not in said:
        raise JobFault('there is no prompt: add "prompt": "..."')
    values = {}
    for key, value in said.items():
        name, read = _KEYS[key]
        values[name] = read(value, key, folder)
    return Job(number, **values)


def _parsed(line: str) -> Any:
    def once(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise JobFault(f"{', '.join(twice)} is said twice: keep one")
        return dict(pairs)

    def no_number(text):
        raise JobFault(f"{text} is no number that JSON has")

    try:
        return json.loads(line, object_pairs_hook=once, parse_constant=no_number)
    except JobFault:
        raise
    except RecursionError:
        raise JobFault("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise JobFault(f"it is not JSON ({error.msg} at character {error.colno}): write one object a line") from None
    except ValueError:
        raise JobFault("it holds a number of too many digits") from None


def _same_names(jobs: list[Job]) -> list[str]:
    """Names are compared as file systems that know no case do."""
    first, faults = {}, []
    for job in jobs:
        if job.name is not None and (other := first.setdefault(job.name.casefold(), job)) is not job:
            faults.append(f"line {job.line}: line {other.line} has the name {other.name!r} too; give each its own")
    return faults


def _object(value: Any, what: str) -> dict:
    if not isinstance(value, dict):
        raise JobFault(f"{what} is {_shown(value)}, expected an object in braces")
    return value


def _known(said: Mapping, known, what: str) -> None:
    unknown = [key for key in said if key not in known]
    if unknown:
        raise JobFault(f"{what} has no {', '.join(map(repr, unknown))}; it may have {', '.join(known)}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


Reader = Callable[[Any, str, Path], Any]


def _text(value: Any, key: str, _: Path) -> str:
    if not isinstance(value, str):
        raise JobFault(f"{key} is {_shown(value)}, expected text in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise JobFault(f"{key} holds half a character (a lone surrogate): write it anew") from None
    return value


def _name(value: Any, key: str, folder: Path) -> str:
    name = _text(value, key, folder)
    if not NAME.fullmatch(name) or name[-1] in ". ":
        raise JobFault(
            f"name is {_shown(name)}, expected a file's name without its ending: up to 120 letters a-z, digits, "
            "'_', '-', '.' and spaces, no dot or space at an end"
        )
    return name


def _whole(value: Any, key: str, _: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise JobFault(f"{key} is {_shown(value)}, expected a whole number")
    return value


def _number(value: Any, key: str, _: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise JobFault(f"{key} is {_shown(value)}, expected a number")
    return float(value)


def _finite(value: int | float) -> bool:
    """False also for whole numbers that no float holds."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _switch(value: Any, key: str, _: Path) -> bool:
    if not isinstance(value, bool):
        raise JobFault(f"{key} is {_shown(value)}, expected true or false")
    return value


def _file(value: Any, key: str, folder: Path) -> Path:
    return folder / _text(value, key, folder)


def _with_file(value: Any, what: str, folder: Path, kind: type, readers: Mapping[str, Reader]) -> Any:
    """An ImageFile or a SoundFile out of a path, or of an object with a path and more."""
    said = {"path": value} if isinstance(value, str) else _object(value, what)
    _known(said, readers, what)
    if "path" not in said:
        raise JobFault(f'{what} has no "path"')
    return kind(**{key: readers[key](one, f"{what} {key}", folder) for key, one in said.items()})


def _images(value: Any, key: str, folder: Path) -> tuple[ImageFile, ...]:
    readers = {"path": _file, "frame": _whole, "strength": _number, "crf": _whole}
    several = value if isinstance(value, list) else [value]
    return tuple(_with_file(one, key, folder, ImageFile, readers) for one in several)


def _sound(value: Any, key: str, folder: Path) -> SoundFile:
    return _with_file(value, key, folder, SoundFile, {"path": _file, "start": _number})


def _blocks(value: Any, key: str, folder: Path) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise JobFault(f"{key} is {_shown(value)}, expected a list of block numbers such as [28]")
    return tuple(sorted({_whole(block, key, folder) for block in value}))


def _guidance(value: Any, key: str, folder: Path) -> Mapping[str, Any] | str:
    if value == NO_GUIDANCE:
        return NO_GUIDANCE
    said = _object(value, f'{key} (or "{NO_GUIDANCE}")')
    readers = dict.fromkeys(GUIDANCE_SCALES, _number) | {"stg_blocks": _blocks, "skip_step": _whole, "reuse": _switch}
    _known(said, readers, key)
    return {name: readers[name](one, f"{key} {name}", folder) for name, one in said.items()}


def _tiling(value: Any, key: str, _: Path) -> str:
    if value not in (WHOLE, TILES):
        raise JobFault(f'{key} is {_shown(value)}, expected "{WHOLE}" or "{TILES}"')
    return value


def _inputs(value: Any, key: str, folder: Path) -> Mapping[str, Any]:
    said = _object(value, key)
    for name, one in said.items():
        node, dot, slot = name.partition(".")
        if not (node and dot and slot):
            raise JobFault(f"{key} has {name!r}, expected NODE.INPUT with the node's type or number")
        if not isinstance(one, str) and not (isinstance(one, int | float) and _finite(one)):
            raise JobFault(f"{key} {name} is {_shown(one)}, expected text, a number, true or false")
    return said


_KEYS: dict[str, tuple[str, Reader]] = {
    "prompt": ("prompt", _text),
    "name": ("name", _name),
    "negative_prompt": ("negative_prompt", _text),
    "width": ("width", _whole),
    "height": ("height", _whole),
    "frames": ("frames", _whole),
    "fps": ("fps", _number),
    "steps": ("steps", _whole),
    "seed": ("seed", _whole),
    "image": ("images", _images),
    "sound": ("sound", _sound),
    "guidance": ("guidance", _guidance),
    "stage_one_sound": ("stage_one_sound", _switch),
    "tiling": ("tiling", _tiling),
    "set": ("inputs", _inputs),
}
