"""ComfyUI in Chinese: choices, titles of groups and notes; names of nodes and inputs: test_reading."""

import json
from pathlib import Path

import pytest

from ltx_duo.scripts.demo.workflows import catalogue
from ltx_duo.tests.canvas.canvas import Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import WORKFLOWS

PACK = Path(__file__).resolve().parents[2]
WORDS = json.loads((PACK / "web" / "zh.json").read_text())
ALIKE = {"bf16", "fp8", "1", "2", "3", "4"}
"""Choices that are called the same."""


@pytest.fixture
def chinese(browser, furnished_server) -> Canvas:
    canvas = Canvas(browser, furnished_server.url, Kind(nodes2=True, newest=False), locale="zh")
    yield canvas
    canvas.screenshot(SCREENSHOTS / "chinese.png")
    canvas.close()


def test_groups_notes_and_choices(chinese):
    name = "image-to-video"
    chinese.load(json.loads((WORKFLOWS / f"{name}.json").read_text()), name)
    parts = [part for column in catalogue.IMAGE_TO_VIDEO.columns for part in column.parts]
    titles = {WORDS["titles"][part.title] for part in parts}
    assert titles == {*chinese.groups(), *chinese.page.evaluate(
        "() => app.graph._nodes.filter(node => node.type === 'MarkdownNote').map(node => node.title)"
    )}  # fmt: skip
    how = chinese.page.get_by_text("什么在动、听到什么")
    how.first.wait_for()
    assert "Width and height" not in chinese.page.locator("body").inner_text()
    sampler = chinese.element(chinese.id_of("LTXDuoStageTwoSampler"))
    assert WORDS["choices"]["continue stage one"] in sampler.inner_text()
    # What is queued is as in English.
    api = json.loads((WORKFLOWS / "api" / f"{name}.api.json").read_text())
    assert {node: entry["inputs"] for node, entry in chinese.prompt().items()} == {
        node: entry["inputs"] for node, entry in api.items()
    }


def test_every_text_of_the_workflows_is_translated(object_info):
    parts = [part for flow in catalogue.WORKFLOWS for column in flow.columns for part in column.parts]
    notes = [part for part in parts if hasattr(part, "text")]
    lines = {line for note in notes for line in note.text.splitlines() if line}
    assert WORDS["titles"].keys() == {part.title for part in parts}
    assert WORDS["lines"].keys() == {line for line in lines if not line.startswith(("| [", "|---"))}


def test_every_choice_is_translated(server, object_info):
    files = {path.name for path in (server.base / "models").rglob("*")}
    choices = set()
    for node, info in object_info.items():
        for _, options in (spec for spec in _inputs(info) if node.startswith("LTXDuo") and spec[0] == "COMBO"):
            choices |= {choice for choice in options["options"] if "." not in choice}
    assert choices - ALIKE - files == WORDS["choices"].keys()


def _inputs(info: dict):
    for section in info["input"].values():
        yield from ((*specification, {})[:2] for specification in section.values() if isinstance(specification, list))
