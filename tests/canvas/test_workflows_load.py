"""Every shipped workflow opens on the canvas without a complaint, and is there what its files say."""

import json

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.servers import NAMES, WORKFLOWS

READABLE = 4.5
"""The contrast that WCAG asks of small text."""


def read(name: str) -> dict:
    (path,) = WORKFLOWS.rglob(name)
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_opens_and_converts_to_its_api_file(canvas, name):
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
    assert canvas.prompt() == api
    assert room.faults(canvas) == []
    if canvas.kind.nodes2:
        assert min(canvas.page.evaluate("() => screenPlaces.noteContrasts()")) >= READABLE
