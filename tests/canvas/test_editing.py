"""Nodes come onto the canvas by search and by dragging from a slot; values are typed in."""

from ltx_duo.tests.canvas.canvas import SETTLE_MS

SAMPLER = "LTXDuoStageOneSampler"
EMPTY_PLACE = (720, 300)


def test_double_click_search_finds_and_adds_a_node(canvas):
    canvas.search(EMPTY_PLACE, "stage one sampl")
    canvas.page.get_by_text("with multi-modal guidance").first.wait_for()
    canvas.page.keyboard.press("Enter")
    canvas.wait_for_nodes(1)
    canvas.page.wait_for_timeout(SETTLE_MS)
    canvas.page.mouse.move(400, 300, steps=3)  # the node follows the mouse until it is put down
    canvas.page.mouse.click(400, 300)
    canvas.page.wait_for_function("() => !app.graph._nodes[0].flags.ghost")
    assert canvas.node_types() == [SAMPLER]
    assert canvas.toasts() == []


def test_dragging_from_an_input_offers_the_node_that_fits(canvas):
    sampler = canvas.add(SAMPLER, 700, 150)
    x, y = canvas.place("slot", sampler, "guidance")
    canvas.drag((x, y), (x - 280, y - 60))
    canvas.page.locator(".litecontextmenu").get_by_text("LTXDuoGuidance").click()
    canvas.wait_for_nodes(2)
    assert canvas.prompt()[sampler]["inputs"]["guidance"] == [canvas.id_of("LTXDuoGuidance"), 0]


def test_typed_numbers_reach_the_prompt(canvas):
    sampler = canvas.add(SAMPLER, 500, 150)
    canvas.type_value(sampler, "steps", 7)
    canvas.type_value(sampler, "fps", 29.97)
    values = canvas.prompt()[sampler]["inputs"]
    assert (values["steps"], values["fps"]) == (7, 29.97)
