"""The checks in trees/ need a ComfyUI in their own process; test_comfyui_trees.py starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ltx_duo.scripts.demo.server import LOCAL

collect_ignore = [] if "LTXDUO_COMFYUI_TREE" in os.environ else ["trees"]
if not (LOCAL / "comfyui-0.30.0").is_dir():
    collect_ignore.append("test_two_gpus.py")


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> Path:
    """A models folder with the small models."""
    folder = tmp_path_factory.mktemp("small") / "models"
    script = Path(__file__).parents[2] / "scripts" / "small_model.py"
    command = [
        sys.executable,
        str(script),
        str(folder),
        "--tokenizer",
        str(LOCAL / "tokenizer"),
        "--also-2.0",
        "--also-2.5",
    ]
    subprocess.run(command, check=True)
    return folder
