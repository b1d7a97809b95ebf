"""Jobs settled into clips: filled with what they leave out, checked, named, and known by a hash of all that counts."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...ltx_core.errors import LTXError
from ...ltx_core.sampling.conditions import GivenSound
from ...ltx_core.sampling.geometry import check_fps
from .faults import Faults, JobFault
from .jobs import Job
from .media import GivenFile, Library

SLUG_LETTERS, DIGEST_LETTERS = 48, 10
# What does not change the film: where a job stands, how it is called, where its files lie.
_NOT_SETTINGS = ("line", "name", "images", "sound")


@dataclass(frozen=True)
class Clip:
    """One film to make.  `settings` are all that decide what is in it, `digest` is their hash."""

    name: str
    job: Job
    files: tuple[GivenFile, ...]
    settings: Mapping[str, Any]
    digest: str


def settle(
    jobs: list[Job],
    defaults: Mapping[str, Any],
    made_with: Mapping[str, Any],
    check: Callable[[Job, GivenSound | None], None],
) -> list[Clip]:
    """The clips of all jobs; Faults lists the jobs that cannot be made.

    defaults: for a job's width, height, frames, fps and seed.  made_with: the model, as part of the settings.
    check: raises LTXError or JobFault for a filled job that cannot be made.
    """
    library, clips, faults = Library(), [], []
    for job in jobs:
        try:
            files, sound = library.files_of(job), library.sound_of(job)
            filled = _filled(job, defaults, sound)
            check(filled, sound)
        except (JobFault, LTXError) as fault:
            faults.append(f"line {job.line}: {fault}")
        else:
            clips.append(_clip(filled, files, made_with))
    first: dict[str, Clip] = {}
    for clip in clips:
        other = first.setdefault(clip.name.casefold(), clip)
        if other is not clip:
            same = "asks for the same film as" if other.digest == clip.digest else "is called as"
            faults.append(f"line {clip.job.line}: it {same} line {other.job.line}; leave one out, or change its seed")
    if faults:
        raise Faults(faults)
    return clips


def _filled(job: Job, defaults: Mapping[str, Any], sound: GivenSound | None) -> Job:
    values = dict(defaults)
    if sound is not None:  # a film as long as its sound
        values["frames"] = sound.frames(check_fps(values["fps"] if job.fps is None else job.fps))
    return replace(job, **{key: value for key, value in values.items() if getattr(job, key) is None})


def _clip(job: Job, files: tuple[GivenFile, ...], made_with: Mapping[str, Any]) -> Clip:
    settings = {key: value for key, value in asdict(job).items() if key not in _NOT_SETTINGS}
    settings["images"] = [
        {"sha256": file.sha256, "frame": image.frame, "strength": image.strength, "crf": image.crf}
        for image, file in zip(job.images, files, strict=False)  # behind the images comes the sound
    ]
    settings["sound"] = None if job.sound is None else {"sha256": files[-1].sha256, "start": job.sound.start}
    settings["made_with"] = dict(made_with)
    settings = json.loads(json.dumps(settings))  # as it will be read from the manifest
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return Clip(job.name or _own_name(job.prompt, digest), job, files, settings, digest)


def _own_name(prompt: str, digest: str) -> str:
    """The name of a job without one: words of its prompt, and its settings, so that it stays when lines move."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:SLUG_LETTERS].strip("-") or "film"
    return f"{words}-{digest[:DIGEST_LETTERS]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which settings differ, in a few words."""
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {_short(old.get(key))}, is {_short(new.get(key))}" for key in keys)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 50 else f"{text[:47]}..."
