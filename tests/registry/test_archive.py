"""What the registry gets: accepted by its own tools, lean, and working in a ComfyUI that has nothing else."""

import json

from PIL import Image

from ltx_duo.scripts.demo import media, models
from ltx_duo.scripts.demo.client import Client, set_inputs
from ltx_duo.scripts.demo.server import PACK, ComfyServer, make_base

FOLDERS = {"locales", "ltx_core", "nodes", "subgraphs", "web", "workflows"}
FILES = {"CHANGELOG.md", "LICENSE", "README.md", "__init__.py", "pyproject.toml"}


def test_validate(checkout, command):
    validated = command("comfy", "node", "validate", folder=checkout)
    assert "All validation checks passed" in validated.stdout, validated.stdout


def test_archive_holds_what_users_need_and_nothing_else(unpacked, checkout):
    pack = unpacked / "custom_nodes" / "ltx-duo"
    assert {path.name for path in pack.iterdir()} == FOLDERS | FILES
    assert sum(path.stat().st_size for path in pack.rglob("*")) < 6e6
    for folder in FOLDERS:
        shipped = {path.relative_to(pack) for path in (pack / folder).rglob("*") if path.is_file()}
        assert shipped == {path.relative_to(checkout) for path in (checkout / folder).rglob("*") if path.is_file()}


def test_lint(unpacked, command):
    linted = command("comfy-test", "lint", "--strict", str(unpacked / "custom_nodes" / "ltx-duo"))
    assert linted.returncode == 0, linted.stdout


def test_icon_fits_the_registry():
    icon = Image.open(PACK / "docs" / "icon.png")
    assert icon.format == "PNG"
    assert icon.width == icon.height <= 400


def test_archive_runs_a_workflow(unpacked, small_model, tmp_path):
    make_base(unpacked)
    assert not (unpacked / "custom_nodes" / "ltx-duo").is_symlink()
    models.link(small_model, unpacked / "models")
    prompt = json.loads((unpacked / "custom_nodes/ltx-duo/workflows/api/text-to-video.api.json").read_text())
    models.choose(prompt, small_model)
    set_inputs(prompt, "LTXDuoStageOneSampler", width=128, height=128, frames=9, steps=1)
    with ComfyServer(unpacked) as server:
        client = Client(server.url, server.check_alive)
        film = client.fetch(client.run(prompt).files()[0], tmp_path / "film.mp4")
    info = media.probe(film)
    assert (info.width, info.height, info.frames, info.sample_rate) == (128, 128, 9, 48000)
