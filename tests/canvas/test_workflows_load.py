"""Every shipped workflow opens on the canvas without a complaint, and is there what its files say."""

import json

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import Kind
from ltx_duo.tests.servers import NAMES, WORKFLOWS

READABLE = 4.5
"""The contrast that WCAG asks of small text."""


def read(name: str) -> dict:
    (path,) = WORKFLOWS.rglob(name)
    return json.loads(path.read_text())


def without_players(entry: dict) -> dict:
    """A node of a prompt without what the front end adds for its player, and nothing reads."""
    return {**entry, "inputs": {name: value for name, value in entry["inputs"].items() if name != "video-preview"}}


def opens_and_converts(canvas, name: str) -> None:
    graph = read(f"{name}.json")
    canvas.load(graph, name)
    assert canvas.unknown_nodes() == []
    assert canvas.complaints == []
    assert canvas.toasts() == []
    assert canvas.error_overlay().count() == 0, canvas.error_overlay().inner_text()
    api = {
        node: {"class_type": entry["class_type"], "inputs": entry["inputs"]}
        for node, entry in read(f"{name}.api.json").items()
    }
    assert {node: without_players(entry) for node, entry in canvas.prompt().items()} == api
    assert room.faults(canvas) == []
    assert not canvas.page.evaluate("() => app.canvas.low_quality")  # classic writes nothing where all is too small
    if canvas.kind.nodes2:
        assert min(canvas.page.evaluate("() => screenPlaces.noteContrasts()")) >= READABLE


# Each workflow on two kinds of canvas, which differ in style and in front end; every kind has half of the workflows.
@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
@pytest.mark.parametrize("name", NAMES[::2])
def test_opens_and_converts_to_its_api_file(canvas, name):
    opens_and_converts(canvas, name)


@pytest.mark.parametrize("tab", [Kind(True, False), Kind(False, True)], ids=str, indirect=True)
@pytest.mark.parametrize("name", NAMES[1::2])
def test_opens_and_converts_to_its_api_file_on_the_others(canvas, name):
    opens_and_converts(canvas, name)
