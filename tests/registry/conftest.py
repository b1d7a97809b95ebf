"""comfy-cli without tracking, a checkout of its own, and the archive that it packs for the registry."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ltx_duo.scripts.demo.server import PACK

Command = Callable[..., subprocess.CompletedProcess]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def command(tmp_path_factory) -> Command:
    """Runs a program of the environment in a folder; returns its exit code and all that it printed as `stdout`."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "HOME": str(home), "DO_NOT_TRACK": "1", "NO_COLOR": "1", "COLUMNS": "200"}

    def run(name: str, *arguments: str, folder: Path = home) -> subprocess.CompletedProcess:
        return subprocess.run(
            [BIN / name, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """What a fresh clone of this state would hold."""
    folder = tmp_path_factory.mktemp("checkout") / "ltx-duo"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=PACK, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (PACK / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACK / name, folder / name)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def unpacked(checkout, command, tmp_path_factory) -> Path:
    """A ComfyUI base folder, clean but for the registry's archive of this pack in custom_nodes."""
    packed = command("comfy", "node", "pack", folder=checkout)
    assert packed.returncode == 0, packed.stdout
    base = tmp_path_factory.mktemp("clean")
    shutil.unpack_archive(checkout / "node.zip", base / "custom_nodes" / "ltx-duo")
    return base
