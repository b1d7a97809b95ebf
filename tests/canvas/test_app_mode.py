"""The front end's app mode asks for a workflow's few inputs, and runs it."""

import json

import pytest

from ltx_duo.tests.canvas.canvas import Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import NAMES, WORKFLOWS

SET = "([id, name, value]) => { app.graph.getNodeById(id).widgets.find(w => w.name === name).value = value; }"
SMALL = {"width": 192, "height": 128, "frames": 9, "steps": 2, "seed": 812}
MOST_INPUTS = 8


@pytest.fixture(scope="module")
def app_canvas(browser, furnished_server):
    canvas = Canvas(browser, furnished_server.url, Kind(nodes2=False, newest=False))
    yield canvas
    canvas.close()


def open_app(canvas: Canvas, name: str) -> list[str]:
    """The names of what the app asks for."""
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text())
    canvas.load(graph, name)
    enter = canvas.page.get_by_role("button", name="Enter app mode")
    if enter.is_visible():  # else the tab before was an app already
        enter.click()
    canvas.page.get_by_test_id("linear-run-button").wait_for()
    canvas.page.get_by_test_id("app-mode-widget-item").first.wait_for()
    return canvas.page.get_by_test_id("app-mode-widget-item").all_inner_texts()


@pytest.mark.parametrize("name", NAMES)
def test_asks_for_the_few_inputs(app_canvas, name):
    shown = open_app(app_canvas, name)
    app_canvas.screenshot(SCREENSHOTS / f"app-mode-{name}.png")
    described = json.loads((WORKFLOWS / f"{name}.json").read_text())["extra"]["linearData"]["inputs"]
    assert [text.split("\n")[0] for text in shown] == [name for _, name in described]
    assert 2 <= len(described) <= MOST_INPUTS
    assert app_canvas.complaints == []


def test_runs(app_canvas):
    open_app(app_canvas, "image-to-video")
    sampler = app_canvas.id_of("LTXDuoStageOneSampler")
    for name, value in SMALL.items():
        app_canvas.page.evaluate(SET, [sampler, name, value])
    app_canvas.page.get_by_test_id("linear-run-button").get_by_role("button", name="Run").last.click()
    video = app_canvas.page.locator("video").first
    video.wait_for(timeout=120_000)
    app_canvas.page.wait_for_function("() => document.querySelector('video').readyState === 4")
    app_canvas.screenshot(SCREENSHOTS / "app-mode-after-run.png")
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [192, 128]
    assert app_canvas.complaints == []
