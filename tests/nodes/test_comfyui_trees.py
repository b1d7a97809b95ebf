"""Runs trees/check_*.py against every supported ComfyUI, each in its own process: only one tree fits into one.

And against the one that LTXDUO_NEWER_COMFYUI names, with the packages that it asks for.
"""

import json
from pathlib import Path

import pytest

from ltx_duo.scripts.demo.server import LOCAL, NEWER_COMFYUI, OLDEST_COMFYUI
from ltx_duo.tests.nodes.in_tree import checked

HERE = Path(__file__).parent
TREES = {"comfyui-0.30.0": LOCAL / "comfyui-0.30.0", "comfyui-0.3.75": OLDEST_COMFYUI}
if NEWER_COMFYUI:
    TREES["newer"] = NEWER_COMFYUI
MEASURED = ("latent", "conditioning", "LoRA", "fp8")
"""What has to be compared with ComfyUI's own nodes in the pinned one; tests/parity has the table of it."""
CHECKS = sorted(map(str, (HERE / "trees").glob("check_*.py")))


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
