"""From what the sides have made to the record, the pictures, the films and the page."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from itertools import combinations

from torch import Tensor

from ...ltx_core import write_film
from ...ltx_core.request import Result
from ...ltx_core.sampling.stage import AVLatent
from . import page, sheet
from .compare import differences
from .made import FRAMES, LATENTS, SOUND, Figures, forget, read
from .takes import Job, Take

OURS, VENDOR = SIDES = ("ours", "vendor")


def collect(
    job: Job, failed: Mapping[str, str], versions: dict, files: list[dict], machine: dict, keep_tensors: bool
) -> dict:
    """Writes everything below the job's folder, and gives the record back."""
    told = {side: _told(job, side) for side in SIDES}
    record = {
        "date": date.today().isoformat(),
        "machine": machine,
        "versions": versions | ({"vendor": told[VENDOR]["version"]} if "version" in told[VENDOR] else {}),
        "files": files,
        "job": json.loads((job.out / "job.json").read_text()),
        "loading": {"seconds": told[OURS].get("loading"), "in_vendors_stages": told[VENDOR].get("stages_load")},
        "failed": dict(failed),
        "takes": [made for take in job.takes if (made := _take(job, take)) is not None],
        "other_seeds": _other_seeds(job),
    }
    (job.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    page.write(record, job.out / "index.html")
    if not keep_tensors:
        for take in job.takes:
            for side in SIDES:
                forget(job.out / side, take.name)
    return record


def _told(job: Job, side: str) -> dict:
    path = job.out / side / "side.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _take(job: Job, take: Take) -> dict | None:
    """What the record says of a take, as far as the sides came; None where neither did."""
    made = {side: found for side in SIDES if (found := read(job.out / side, take.name)) is not None}
    if not made:
        return None
    result = {"name": take.name, "prompt": take.text, "seed": take.seed, "sides": {}}
    for side, (tensors, figures) in made.items():
        film = f"{take.name}-{side}.mp4"
        write_film(_result(job, tensors, figures), job.out / film)
        result["sides"][side] = {**asdict(figures), "film": film}
    tensors = {side: found for side, (found, _) in made.items()}
    if len(made) == 2:
        tensors[OURS] = _same_sound(tensors[OURS], made[VENDOR][1])
        result["differences"] = differences(tensors[OURS], tensors[VENDOR])
    result["sheet"] = f"{take.name}.jpg"
    sheet.draw(job.out / result["sheet"], tensors, {side: figures.sample_rate for side, (_, figures) in made.items()})
    return result


def _same_sound(ours: Mapping[str, Tensor], vendor: Figures) -> Mapping[str, Tensor]:
    """Ours with the sound of the stage that the vendor's version lets hear."""
    return ours if vendor.sound_of == "stage one" else {**ours, SOUND: ours[f"{SOUND} of {vendor.sound_of}"]}


def _result(job: Job, tensors: Mapping[str, Tensor], figures: Figures) -> Result:
    one, two = (AVLatent(*(tensors[name] for name in pair)) for pair in (LATENTS[:2], LATENTS[2:]))
    return Result(tensors[FRAMES].float() / 255, job.fps, tensors[SOUND][None], figures.sample_rate, one, two)


def _other_seeds(job: Job) -> dict[str, dict[str, float | None]]:
    """How far apart our own films of one prompt are: of the first two seeds of each."""
    result = {}
    for prompt in dict.fromkeys(take.prompt for take in job.takes):
        pair = next(combinations([take for take in job.takes if take.prompt == prompt], 2), None)
        found = [] if pair is None else [read(job.out / OURS, take.name) for take in pair]
        if found and None not in found:
            (one, _), (other, _) = found
            result[f"{prompt}, seeds {pair[0].seed} and {pair[1].seed}"] = differences(one, other)
    return result
