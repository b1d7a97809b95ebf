"""Who opens a workflow without its models is offered them for download, and sees all of the workflow."""

import json
import re

import pytest

from ltx_duo.scripts.demo.server import ComfyServer, make_base
from ltx_duo.scripts.demo.workflows import catalogue, model_files
from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import NAMES, PREVIEWS, WORKFLOWS, running

# What Hugging Face answers when it is asked how large a file is.
SIZES = {file.name: file.bytes for file in model_files.FILES}
MOST_FILES = "text-to-video-2-5"
ROWS = """buttons => buttons.map(button => {
    const row = button.closest('div').parentElement;
    return [button.getAttribute('aria-label').replace('Download ', ''), row.innerText];
})"""


@pytest.fixture(scope="module")
def server_without_models(tmp_path_factory):
    yield from running(ComfyServer(make_base(tmp_path_factory.mktemp("without-models")), arguments=PREVIEWS))


@pytest.fixture(scope="module")
def canvas_without_models(request, browser, server_without_models):
    canvas = Canvas(browser, server_without_models.url, request.param, asks_hosts=True)
    canvas.page.route(re.compile("^https://"), lambda route: route.abort())
    canvas.page.route(f"{model_files.HUB}/**", _answer)
    yield canvas
    canvas.close()


def _answer(route) -> None:
    size = SIZES[route.request.url.rpartition("/")[2]]
    headers = {"access-control-allow-origin": "*", "content-length": str(size)}
    route.fulfill(status=200, headers=headers)


def shown_size(file: str) -> str:
    """As the front end writes a size: by powers of 1024, without zeros at the end."""
    unit, factor = ("GB", 2**30) if SIZES[file] >= 2**30 else ("MB", 2**20)
    return f"{round(SIZES[file] / factor, 2):g} {unit}"


def needed(name: str) -> dict[str, model_files.ModelFile]:
    """The files that a workflow's loaders are set to."""
    workflow = next(workflow for workflow in catalogue.WORKFLOWS if workflow.name == name)
    values = {value for node in workflow.nodes for value in node.values.values()}
    return {file.name: file for file in model_files.FILES if file.name in values}


def offers_each_once(canvas: Canvas, name: str) -> None:
    canvas.clear()
    canvas.load(json.loads((WORKFLOWS / f"{name}.json").read_text()), name)
    assert room.faults(canvas) == []
    canvas.screenshot(SCREENSHOTS / f"files-missing-{name}-{canvas.kind}.png")
    canvas.error_overlay().get_by_role("button", name="View details").click()
    rows = canvas.page.get_by_test_id("missing-model-download")
    rows.last.wait_for()
    canvas.page.get_by_text(re.compile(r"· [\d.]+ [GM]B")).nth(len(needed(name)) - 1).wait_for()
    canvas.screenshot(SCREENSHOTS / f"downloads-{name}-{canvas.kind}.png")
    offered = rows.evaluate_all(ROWS)
    assert sorted(file for file, _ in offered) == sorted(needed(name))
    for file, text in offered:
        assert f"{needed(name)[file].folder} · {shown_size(file)}" in text


# Each workflow on one kind of canvas, the one with most files on both: the panel is the same beside either.
@pytest.mark.parametrize("canvas_without_models", [Kind(False, False)], ids=str, indirect=True)
@pytest.mark.parametrize("name", sorted({*NAMES[::2], MOST_FILES}))
def test_each_missing_file_is_offered_once(canvas_without_models, name):
    offers_each_once(canvas_without_models, name)


@pytest.mark.parametrize("canvas_without_models", [Kind(True, False)], ids=str, indirect=True)
@pytest.mark.parametrize("name", sorted({*NAMES[1::2], MOST_FILES}))
def test_each_missing_file_is_offered_once_beside_nodes2(canvas_without_models, name):
    offers_each_once(canvas_without_models, name)
