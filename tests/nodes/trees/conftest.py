"""Runs inside one ComfyUI tree (see test_comfyui_trees.py): makes its modules importable, started with --cpu."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch

import ltx_duo

TREE = Path(os.environ["LTXDUO_COMFYUI_TREE"])
BASE = Path(os.environ["LTXDUO_BASE_DIRECTORY"])

if str(TREE) not in sys.path:
    sys.path.insert(0, str(TREE))
    # Where torchvision's compiled operators are missing, this declares them.
    with contextlib.suppress(ImportError):
        import torchvision_cpu_ops  # noqa: F401
    import comfy.options

    arguments, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", str(BASE)]
    comfy.options.enable_args_parsing()
    import comfy.cli_args  # noqa: F401

    sys.argv = arguments

CONFIG = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
SMALL = {
    "num_layers": 2,
    "num_attention_heads": 4,
    "attention_head_dim": 24,
    "cross_attention_dim": 96,
    "audio_num_attention_heads": 4,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 64,
}


@pytest.fixture
def config() -> dict:
    """A checkpoint's config with a small transformer."""
    return {**CONFIG, "transformer": {**CONFIG["transformer"], **SMALL}}


@pytest.fixture(autouse=True)
def _inference():
    """ComfyUI's prompt worker runs like this."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models() -> Path:
    """The models folder of the base directory; holds the small model."""
    return BASE / "models"


@pytest.fixture(scope="session")
def nodes() -> dict[str, type]:
    """The pack's node classes by id."""
    extension = asyncio.run(ltx_duo.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}
