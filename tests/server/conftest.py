"""What the tests of refused prompts share."""

import json

import pytest

from ltx_duo.scripts.demo import models
from ltx_duo.scripts.demo.client import set_inputs
from ltx_duo.scripts.demo.server import NEWER_COMFYUI, PACK

collect_ignore = [] if NEWER_COMFYUI else ["test_newer_comfyui.py"]


@pytest.fixture
def prompt(small_model, server) -> dict:
    """The text-to-video workflow with the small model, good as it stands."""
    models.link(small_model, server.base / "models")
    prompt = json.loads((PACK / "workflows" / "api" / "text-to-video.api.json").read_text())
    models.choose(prompt, small_model)
    set_inputs(prompt, "LTXDuoStageOneSampler", width=128, height=128, frames=9, steps=1)
    return prompt
