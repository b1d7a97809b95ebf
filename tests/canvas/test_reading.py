"""What a person reads: the help panel, the list of templates, the names in other languages."""

import json
from pathlib import Path

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import SETTLE_MS, Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import NAMES, WORKFLOWS

PACK = Path(__file__).resolve().parents[2]
LOCALES = PACK / "locales"
NODE = "LTXDuoStageTwoSampler"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir() if folder.name != "en")


def first_sentence(node_type: str) -> str:
    pages = [PACK / "web" / "docs" / f"{node_type}.md", PACK / "web" / "docs" / node_type / "en.md"]
    text = next(page for page in pages if page.is_file()).read_text()
    paragraph = next(line for line in text.splitlines() if line and line[0].isalpha())
    return paragraph.split(". ")[0]


def test_help_panel_shows_the_page_of_the_node(canvas):
    canvas.select(canvas.add(NODE, 500, 200))
    canvas.page.get_by_test_id("info-button").click()
    page = canvas.page.locator(".node-help-content")
    page.get_by_text(first_sentence(NODE)).wait_for()
    assert page.get_by_role("row").count() > 5


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_templates_show_a_picture_and_open(canvas):
    canvas.page.get_by_label("Templates", exact=True).click()
    for name in NAMES:
        card = canvas.page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()
        picture = card.locator("img").first
        picture.wait_for()
        canvas.page.wait_for_function("image => image.naturalWidth >= 300", arg=picture.element_handle())
    canvas.screenshot(SCREENSHOTS / f"templates-{canvas.kind}.png")
    assert canvas.page.locator("[data-testid^='template-workflow-'][data-testid*='.api']").count() == 0
    canvas.page.get_by_test_id(f"template-workflow-{NAMES[0]}").click()
    canvas.page.wait_for_function("() => app.graph._nodes.some(node => node.type.startsWith('LTXDuo'))")
    # As large as its file says, not as small as the front end shows other templates.
    saved = json.loads((WORKFLOWS / f"{NAMES[0]}.json").read_text())["extra"]["ds"]
    canvas.page.wait_for_function("scale => app.canvas.ds.scale === scale", arg=saved["scale"])
    canvas.page.wait_for_timeout(2 * SETTLE_MS)
    assert canvas.page.evaluate("() => [app.canvas.ds.scale, [...app.canvas.ds.offset]]") == list(saved.values())
    assert room.faults(canvas) == []
    canvas.screenshot(SCREENSHOTS / f"template-opened-{canvas.kind}.png")
    assert canvas.toasts() == []


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_undone_step_leaves_the_view(canvas):
    """Only what opens a workflow sets its view."""
    graph = json.loads((WORKFLOWS / "text-to-sound.json").read_text())
    canvas.load(graph, "text-to-sound")
    canvas.page.evaluate("() => { app.canvas.ds.scale = 0.3; app.canvas.setDirty(true, true); }")
    canvas.page.evaluate(
        "graph => app.loadGraphData(graph, false, false, app.extensionManager.workflow.activeWorkflow)", graph
    )
    canvas.page.wait_for_timeout(3 * SETTLE_MS)
    assert canvas.page.evaluate("() => app.canvas.ds.scale") == 0.3


@pytest.fixture
def translated(browser, furnished_server, language) -> Canvas:
    canvas = Canvas(browser, furnished_server.url, Kind(nodes2=True, newest=False), locale=language)
    yield canvas
    canvas.screenshot(SCREENSHOTS / f"language-{language}.png")
    canvas.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_in_the_language_of_the_settings(translated, language, object_info):
    names = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    every_node = sorted(node for node in object_info if node.startswith("LTXDuo"))
    for node_type in every_node if language == "zh" else [NODE]:  # one node shows that a language is offered and read
        translated.clear()
        shown = translated.element(translated.add(node_type, 500, 200)).inner_text()
        inputs = {**object_info[node_type]["input"]["required"], **object_info[node_type]["input"].get("optional", {})}
        visible = [name for name, specification in inputs.items() if not specification[1].get("advanced")]
        expected = [names[node_type]["display_name"], *(names[node_type]["inputs"][name]["name"] for name in visible)]
        assert [name for name in expected if name not in shown] == []
