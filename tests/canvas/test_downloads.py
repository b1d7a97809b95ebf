"""Who opens a workflow without its models is offered them for download."""

import json

import pytest

from ltx_duo.scripts.demo.server import ComfyServer, make_base
from ltx_duo.scripts.demo.workflows import catalogue
from ltx_duo.tests.canvas.canvas import Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import WORKFLOWS, running

NEEDED = {
    "image-to-video": {catalogue.DEV.name, catalogue.LORA.name, catalogue.UPSAMPLER.name},
    "distilled": {catalogue.DISTILLED.name, catalogue.UPSAMPLER.name},
}


@pytest.fixture(scope="module")
def canvas_without_models(browser, tmp_path_factory):
    for server in running(ComfyServer(make_base(tmp_path_factory.mktemp("without-models")))):
        canvas = Canvas(browser, server.url, Kind(nodes2=False, newest=False))
        yield canvas
        canvas.close()


@pytest.mark.parametrize("name", NEEDED)
def test_each_missing_file_is_offered_once(canvas_without_models, name):
    canvas = canvas_without_models
    canvas.clear()
    canvas.load(json.loads((WORKFLOWS / f"{name}.json").read_text()), name)
    canvas.error_overlay().get_by_role("button", name="View details").click()
    downloads = canvas.page.get_by_role("button", name="Download", exact=False)
    downloads.last.wait_for()
    canvas.screenshot(SCREENSHOTS / f"downloads-{name}.png")
    offered = [label.removeprefix("Download ") for label in downloads.evaluate_all(
        "buttons => buttons.map(button => button.getAttribute('aria-label') || button.innerText)"
    )]  # fmt: skip
    assert sorted(offered) == sorted([*NEEDED[name], "all"])
