"""Checks of trees/, run inside a ComfyUI."""

import os
import subprocess
import sys
from pathlib import Path

from ltx_duo.scripts.demo.server import search_path


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
