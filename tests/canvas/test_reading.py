"""What a person reads: the help panel, the list of templates."""

from pathlib import Path

from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import NAMES

PACK = Path(__file__).resolve().parents[2]
NODE = "LTXDuoStageTwoSampler"


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
    assert canvas.toasts() == []
