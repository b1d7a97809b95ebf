"""A shipped workflow, filled with the chosen files and values."""

import json
import shutil
from pathlib import Path

from . import models
from .client import set_inputs
from .server import PACK

API = PACK / "workflows" / "api"


def fill(found: dict[str, Path], base: Path, text: str | None, image: Path | None, sampling: dict[str, int]) -> dict:
    """image-to-video in API format, with `image` copied to ComfyUI's input folder, or text-to-video without an image.

    `sampling` are inputs of stage one.  Without `text` the workflow's own prompt stays.
    """
    name = "text-to-video" if image is None else "image-to-video"
    files = {} if image is None else {"LoadImage": {"image": image}}
    return fill_workflow(name, found, base, text, sampling, files, names={"image": "demo"})


def fill_workflow(
    name: str,
    found: dict[str, Path],
    base: Path,
    text: str | None,
    sampling: dict[str, int],
    files: dict[str, dict[str, Path]],
    values: dict[str, dict] | None = None,
    names: dict[str, str] | None = None,
) -> dict:
    """A shipped workflow in API format; `files` and `values` by node type and input.

    Files are copied to ComfyUI's input folder, under the name in `names` by input or their own.  `sampling` as in
    `fill`, but for what stage one gets from other nodes.
    """
    prompt = json.loads((API / f"{name}.api.json").read_text())
    models.choose(prompt, found)
    if "LoadImage" not in files:
        _take_out_images(prompt)
    (sampler,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "LTXDuoStageOneSampler")
    own = {key: value for key, value in sampling.items() if not isinstance(sampler.get(key), list)}
    set_inputs(prompt, "LTXDuoStageOneSampler", **own)
    if text is not None:
        set_inputs(prompt, "LTXDuoTextEncode", prompt=text)
    for node_type, inputs in files.items():
        for slot, path in inputs.items():
            target = base / "input" / f"{(names or {}).get(slot, path.stem)}{path.suffix}"
            shutil.copyfile(path, target)
            set_inputs(prompt, node_type, **{slot: target.name})
    for node_type, inputs in (values or {}).items():
        set_inputs(prompt, node_type, **inputs)
    return prompt


def _take_out_images(prompt: dict) -> None:
    """Bypasses the image condition, as ComfyUI's Ctrl+B does."""
    gone = {key for key, node in prompt.items() if node["class_type"] in ("LTXDuoImageCondition", "LoadImage")}
    for node in prompt.values():
        inputs = node["inputs"]
        for slot in [slot for slot, value in inputs.items() if isinstance(value, list) and value[0] in gone]:
            del inputs[slot]
    for key in gone:
        del prompt[key]
