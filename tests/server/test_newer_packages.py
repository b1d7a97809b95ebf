"""A newer ComfyUI than the pinned one has packages of its own, and the pinned one keeps its own."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from ltx_duo.scripts.demo import server
from ltx_duo.scripts.lacking import lacking
from ltx_duo.tests.server.stand_in import main_file

EINOPS = version("einops")

# Tells which package it found.
STAND_IN = main_file('import einops, pathlib; pathlib.Path("einops.txt").write_text(einops.__version__)')
STARTER = """
import sys
from pathlib import Path
from demo.server import ComfyServer
for folder in map(Path, sys.argv[1:]):
    with ComfyServer(folder, folder):
        pass
"""


def test_missing_packages_are_not_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "NEWER_COMFYUI", tmp_path)
    monkeypatch.setattr(server, "NEWER_PACKAGES", tmp_path / "absent")
    with pytest.raises(server.ServerError, match="setup.sh test"):
        server.search_path(tmp_path)


def test_only_the_newer_one_finds_its_packages(tmp_path):
    packages = tmp_path / "local" / "newer-comfyui-packages"
    packages.mkdir(parents=True)
    (packages / "einops.py").write_text("__version__ = 'its own'")
    newer, pinned = tmp_path / "newer", tmp_path / "pinned"
    for folder in (newer, pinned):
        folder.mkdir()
        (folder / "main.py").write_text(STAND_IN)
    own = {"LTXDUO_LOCAL": str(packages.parent), "LTXDUO_NEWER_COMFYUI": str(newer)}
    environment = {**os.environ, **own, "PYTHONPATH": str(server.PACK / "scripts")}
    subprocess.run([sys.executable, "-c", STARTER, str(newer), str(pinned)], env=environment, check=True)
    assert (newer / "einops.txt").read_text() == "its own"
    assert (pinned / "einops.txt").read_text() == EINOPS


@pytest.mark.parametrize(
    "line",
    [f"einops=={EINOPS}", "einops", "einops>=0.1  # any", "# nothing", "", "absent==1; sys_platform == 'nowhere'"],
)
def test_what_is_there_is_not_installed(line):
    assert lacking(f"{line}\n") == []


@pytest.mark.parametrize("line", ["einops==0.0.1", "einops<0.1", "absent-from-here"])
def test_what_is_lacking_is_installed(line):
    assert lacking(f"torch\neinops\n{line}\n") == [line]


def test_templates_and_help_pages_are_left_out():
    assert lacking("comfyui_workflow_templates==0\ncomfyui-embedded-docs==0\n") == []


@pytest.mark.parametrize("line", ["torch<1", "TorchVision==0.1", "torchaudio==0.1"])
def test_another_pytorch_is_refused(line):
    with pytest.raises(ValueError, match=f"needs {line}: raise the versions in scripts/requirements-comfyui.txt"):
        lacking(line)


def test_line_that_is_no_requirement_is_refused():
    with pytest.raises(ValueError, match="not a package's name and versions"):
        lacking("--extra-index-url https://example.org")
