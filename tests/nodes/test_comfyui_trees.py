"""Runs trees/check_*.py against every supported ComfyUI, each in its own process: only one tree fits into one.

And against the one that LTXDUO_NEWER_COMFYUI names, with the packages that it asks for.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltx_duo.scripts.demo.server import LOCAL, NEWER_COMFYUI, OLDEST_COMFYUI, search_path

HERE = Path(__file__).parent
TREES = {"comfyui-0.30.0": LOCAL / "comfyui-0.30.0", "comfyui-0.3.75": OLDEST_COMFYUI}
if NEWER_COMFYUI:
    TREES["newer"] = NEWER_COMFYUI
MEASURED = ("latent", "conditioning", "LoRA", "fp8")
"""What has to be compared with ComfyUI's own nodes in the pinned one; tests/parity has the table of it."""
CHECKS = sorted(map(str, (HERE / "trees").glob("check_*.py")))


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> Path:
    """A models folder with the small models."""
    folder = tmp_path_factory.mktemp("small") / "models"
    script = HERE.parents[1] / "scripts" / "small_model.py"
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


@pytest.mark.parametrize("name", TREES)
def test_tree(name, small_models, tmp_path):
    tree = TREES[name]
    assert (tree / "comfy").is_dir(), f"{tree} is not installed; run scripts/setup.sh"
    rows = tmp_path / "rows.jsonl"
    result = checked(tree, CHECKS, small_models, tmp_path, LTXDUO_PARITY_ROWS=str(rows))
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    # What the oldest one lacks is skipped there; in a newer one a skip would hide that a name has changed.
    assert tree == OLDEST_COMFYUI or " skipped" not in result.stdout.splitlines()[-1], result.stdout[-2000:]
    if name == "comfyui-0.30.0":
        measured = [json.loads(line)[0] for line in rows.read_text().splitlines()]
        assert [subject for subject in MEASURED if not any(subject in what for what in measured)] == []


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.skipif(not TREES["comfyui-0.30.0"].is_dir(), reason="needs what scripts/setup.sh test installs")
def test_two_gpus(small_models, tmp_path):
    on_gpus = [check for check in CHECKS if check.endswith("check_several_gpus.py")]
    result = checked(TREES["comfyui-0.30.0"], on_gpus, small_models, tmp_path, LTXDUO_CHECKS_ON_GPU="1")
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]


def checked(tree: Path, checks: list[str], models: Path, base: Path, **more: str) -> subprocess.CompletedProcess:
    """The checks, run in a process of their own inside the tree, with `more` in its environment."""
    (base / "models").symlink_to(models, target_is_directory=True)
    environment = {
        **os.environ,
        "LTXDUO_COMFYUI_TREE": str(tree),
        "LTXDUO_BASE_DIRECTORY": str(base),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": search_path(tree),
        **more,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
