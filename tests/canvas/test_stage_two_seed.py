"""Stage two's seed is greyed, and stays what it is, while its noise goes on from stage one's."""

import json

import pytest

from ltx_duo.tests.canvas.canvas import SETTLE_MS, Kind
from ltx_duo.tests.servers import WORKFLOWS

STAGE_TWO = "LTXDuoStageTwoSampler"
STATE = """id => {
    const seed = app.graph.getNodeById(id).widgets.find(widget => widget.name === "seed");
    return [seed.value, seed.disabled];
}"""
RANDOMIZE = """id => {
    app.graph.getNodeById(id).widgets.find(w => w.name === "control_after_generate").value = "randomize";
}"""


def choose_noise(canvas, node: str, choice: str) -> None:
    if canvas.kind.nodes2:
        label = canvas.page.get_by_text("noise", exact=True)
        canvas.element(node).get_by_test_id("node-widget").filter(has=label).get_by_role("combobox").click()
        canvas.page.get_by_role("option", name=choice).click()
    else:
        canvas.page.mouse.click(*canvas.place("widget", node, "noise"))
        canvas.page.locator(".litecontextmenu").get_by_text(choice).click()
    canvas.page.wait_for_timeout(SETTLE_MS)


def queue(canvas) -> None:
    """Presses Run; nothing runs."""
    canvas.page.route(
        "**/api/prompt", lambda route: route.fulfill(json={"prompt_id": "none", "number": 0, "node_errors": {}})
    )
    canvas.run()
    canvas.page.wait_for_timeout(2 * SETTLE_MS)
    canvas.page.unroute("**/api/prompt")


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_greyed_and_kept_until_it_is_used(canvas):
    node = canvas.add(STAGE_TWO, 500, 150)
    assert canvas.page.evaluate(STATE, node)[1] is True
    canvas.clear()

    canvas.load(json.loads((WORKFLOWS / "text-to-video.json").read_text()), "text-to-video")
    node = canvas.id_of(STAGE_TWO)
    canvas.page.evaluate(RANDOMIZE, node)
    before = canvas.page.evaluate(STATE, node)
    assert before[1] is True
    queue(canvas)
    assert canvas.page.evaluate(STATE, node) == before

    choose_noise(canvas, node, "new seed")
    assert canvas.page.evaluate(STATE, node) == [before[0], False]
    queue(canvas)
    seed, greyed = canvas.page.evaluate(STATE, node)
    assert seed != before[0] and greyed is False
    saved = canvas.graph()

    choose_noise(canvas, node, "continue stage one")
    assert canvas.page.evaluate(STATE, node) == [seed, True]
    canvas.clear()
    canvas.load(saved, "new seed")
    assert canvas.page.evaluate(STATE, canvas.id_of(STAGE_TWO)) == [seed, False]
    assert canvas.complaints == []
