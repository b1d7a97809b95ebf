"""Every shipped workflow opens on the canvas without a complaint, and is there what its files say."""

import json
from itertools import combinations
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.glob("*.api.json"))


def read(name: str) -> dict:
    return json.loads((WORKFLOWS / name).read_text())


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
