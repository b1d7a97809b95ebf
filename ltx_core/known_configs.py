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
from .generation import Generation
from .stubs import read_json

BESIDE = "config.json"
_KNOWN = (Generation.V2_3, Generation.V2_0)
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
    beside, unread = _beside(checkpoint)
    found, sources = dict(checkpoint.own_config), list(_sources(beside, other, checkpoint.generation))
    lacks = {}
    for section in sorted(wanted - found.keys()):
        parts = [part for part in Component if part in checkpoint.components and SECTIONS.get(part) == section]
        why = ""
        for name, source in sources:
            if isinstance(source.get(section), Mapping):
                # The vocoder's mel bands stand in the audio VAE's section.
                mel = {key: source[key] for key in ("audio_vae",) if section == "vocoder" and key in source}
                config = {**mel, **found, section: source[section]}
                problems = ((part, text) for part in parts if (text := unfit(part, checkpoint, config)))
                part, text = next(problems, (None, ""))
                if part is None:
                    found = config
                    break
                why = why or f", and its {part.value} is not that of {name} ({text})"
        if section not in found:
            lying = unread
            if beside and section not in beside:
                lying = f"it has no table {section!r}" if section else "it is not of a latent upsampler"
            lying = f" The {BESIDE} that lies there was not taken: {lying.rstrip('.')}." if lying else ""
            lacks[section] = f"{checkpoint.path} has no 'config' in its metadata{why}. {_TO_DO}{lying}"
    return checkpoint.with_config(found, lacks)


def _sources(beside: Config, other: Checkpoint | None, generation: Generation | None) -> Iterator[tuple[str, Config]]:
    """Configs to try, by section, with what messages call the models that they describe.

    Of the known models that of the file's own `generation` comes first: what does not fit is said of it.
    """
    if beside:
        yield f"the {BESIDE} beside it", beside
    if other is not None and other.own_config:
        yield other.path.name, other.own_config
    for known in sorted(_KNOWN, key=lambda known: known is not generation):
        yield str(known), _read(f"ltx-{known.value}.json")
        for config in _read(f"ltx-{known.value}-upsamplers.json"):
            yield str(known), {UPSAMPLER: config}
    # LTX-2.5's transformer differs in what its own file says; the rest has the config of 2.3.
    transformer = _read("ltx-2.3.json")["transformer"] | _read("ltx-2.5.json")["transformer"]
    yield "LTX-2.5", {"transformer": transformer}


def _beside(checkpoint: Checkpoint) -> tuple[Config, str]:
    """The tables by section in the config.json of the file's folder, and why there are none although one lies there."""
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    try:
        config = read_json(folder / BESIDE, "the config of LTX-2")
    except FileNotFoundError:
        return {}, ""
    except CheckpointError as error:
        return {}, str(error)
    if config.get("_class_name") == "LatentUpsampler":
        return {UPSAMPLER: config}, ""
    tables = {name: table for name, table in config.items() if name != UPSAMPLER and isinstance(table, Mapping)}
    return tables, "" if tables else "it has no tables for the parts of LTX-2"


@cache
def _read(name: str) -> Any:
    return json.loads((_CONFIGS / name).read_text(encoding="utf-8"))
