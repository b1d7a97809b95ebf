"""The pack on a server of the ComfyUI that LTXDUO_NEWER_COMFYUI names; the checks inside it: tests/nodes."""

from collections.abc import Iterator

import pytest
from packaging.version import Version

from ltx_duo.scripts.demo import command, models, progress
from ltx_duo.scripts.demo.client import Client
from ltx_duo.scripts.demo.server import NEWER_COMFYUI, ComfyServer, make_base
from ltx_duo.tests.server.drawn import words
from ltx_duo.tests.servers import running


@pytest.fixture(scope="module")
def newer_server(tmp_path_factory) -> Iterator[ComfyServer]:
    yield from running(ComfyServer(make_base(tmp_path_factory.mktemp("newer")), NEWER_COMFYUI))


@pytest.fixture(scope="module")
def newer_client(newer_server) -> Client:
    return Client(newer_server.url, newer_server.check_alive)


def described(object_info: dict) -> dict:
    """Each of our nodes: its inputs' names, its outputs' kinds and names."""
    nodes = {name: info for name, info in object_info.items() if name.startswith("LTXDuo")}
    return {name: (info["input_order"], info["output"], info["output_name"]) for name, info in nodes.items()}


def test_it_is_newer(newer_client, client):
    found, pinned = (Version(c.get("/system_stats")["system"]["comfyui_version"]) for c in (newer_client, client))
    assert found > pinned


def test_nodes_are_those_of_the_pinned_one(newer_client, object_info):
    assert described(newer_client.get("/object_info")) == described(object_info)


def test_text_to_video_shows_what_the_prompt_says(newer_server, newer_client, tmp_path):
    """The small trained model through the whole workflow, to the MP4."""
    found = models.trained()
    models.link(found, newer_server.base / "models")
    studio = command.Studio(newer_client, newer_server.base, found, command.SIZE, progress.Clock())
    film = tmp_path / "film.mp4"
    studio.make(command.PROMPT, None, film)
    assert words(film) == ("red", "star", "left", "star")
