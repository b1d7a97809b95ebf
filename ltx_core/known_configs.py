"""Configs for files that were saved without one: from a config.json beside the file, or of a model that is known.

Shapes tell a model's sizes, and not how many heads it has, its positions, or its mel settings.  So a config is taken
only where it describes exactly the tensors that are there.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .checkpoint import SECTIONS, UPSAMPLER, Checkpoint, Component
from .errors import CheckpointError
from .fit import unfit
from .stubs import read_json

BESIDE = "config.json"
_CONFIGS = Path(__file__).parent / "variants" / "configs"
_TO_DO = (
    f"Put its config as {BESIDE} into the same folder, or use the official file or one that was converted with its "
    "metadata."
)
Config = Mapping[str, Any]


def completed(checkpoint: Checkpoint, other: Checkpoint | None = None) -> Checkpoint:
    """The same file with a config for what it holds, where its own metadata have none or lack a section.

    Looked for beside the file, then in `other`, then among the models that are known.  Where nothing fits, the file
    says so when its config is asked for.
    """
    wanted = {section for part in checkpoint.components if (section := SECTIONS.get(part)) is not None}
    if checkpoint.has_broken_config or wanted <= checkpoint.own_config.keys():
        return checkpoint
    found, sources = dict(checkpoint.own_config), list(_sources(checkpoint, other))
    lacks = {}
    for section in sorted(wanted - found.keys()):
        parts = [part for part in Component if part in checkpoint.components and SECTIONS.get(part) == section]
        why = ""
        for name, source in sources:
            if section in source:
                # The vocoder's mel bands stand in the audio VAE's section.
                beside = {key: source[key] for key in ("audio_vae",) if section == "vocoder" and key in source}
                config = {**beside, **found, section: source[section]}
                problems = ((part, text) for part in parts if (text := unfit(part, checkpoint, config)))
                part, text = next(problems, (None, ""))
                if part is None:
                    found = config
                    break
                why = why or f", and its {part.value} is not that of {name} ({text})"
        if section not in found:
            lacks[section] = f"{checkpoint.path} has no 'config' in its metadata{why}. {_TO_DO}"
    return checkpoint.with_config(found, lacks)


def _sources(checkpoint: Checkpoint, other: Checkpoint | None) -> Iterator[tuple[str, Config]]:
    """Configs to try, by section, with what messages call the models that they describe."""
    if beside := _beside(checkpoint):
        upsampler = beside.get("_class_name") == "LatentUpsampler"
        yield f"the {BESIDE} beside it", {UPSAMPLER: beside} if upsampler else beside
    if other is not None and other.own_config:
        yield other.path.name, other.own_config
    yield "LTX-2.3", _read("ltx-2.3.json")
    for config in _read("ltx-2.3-upsamplers.json"):
        yield "LTX-2.3", {UPSAMPLER: config}


def _beside(checkpoint: Checkpoint) -> Config:
    """The config.json in the file's folder; empty for none, and for those of other programs."""
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    try:
        return read_json(folder / BESIDE, "the config of LTX-2")
    except (FileNotFoundError, CheckpointError):
        return {}


@cache
def _read(name: str) -> Any:
    return json.loads((_CONFIGS / name).read_text(encoding="utf-8"))
