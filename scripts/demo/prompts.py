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
    prompt = json.loads((API / f"{name}.api.json").read_text())
    models.choose(prompt, found)
    set_inputs(prompt, "LTXDuoStageOneSampler", **sampling)
    if text is not None:
        set_inputs(prompt, "LTXDuoTextEncode", prompt=text)
    if image is not None:
        target = base / "input" / f"demo{image.suffix}"
        shutil.copyfile(image, target)
        set_inputs(prompt, "LoadImage", image=target.name)
    return prompt
