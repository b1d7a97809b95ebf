"""A workflow runs from the canvas: values typed, Run pressed, progress seen, the video plays, its file opens again."""

import json

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import TOAST, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import WORKFLOWS

SMALL = {"width": 192, "height": 128, "frames": 9, "steps": 3}
STAGE_ONE, STAGE_TWO, GUIDANCE = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoGuidance"
WATCH_TITLE = """() => {
    window.titles = [];
    const watch = new MutationObserver(() => window.titles.push(document.title));
    watch.observe(document.querySelector("title"), { childList: true });
}"""


@pytest.fixture
def workflow(canvas) -> dict:
    """The image-to-video workflow on the canvas, as it is shipped."""
    graph = json.loads((WORKFLOWS / "image-to-video.json").read_text())
    canvas.load(graph, "image-to-video")
    return graph


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_run_plays_the_video_and_its_file_restores_the_workflow(canvas, workflow):
    sampler = canvas.id_of(STAGE_ONE)
    for name, value in SMALL.items():
        canvas.type_value(sampler, name, value)
    queued = canvas.prompt()
    canvas.page.evaluate(WATCH_TITLE)
    canvas.run()
    video = canvas.page.locator("video").first
    video.wait_for(timeout=120_000)
    canvas.page.wait_for_function("() => document.querySelector('video').readyState === 4")
    canvas.page.wait_for_timeout(300)  # the picture is drawn
    canvas.screenshot(SCREENSHOTS / f"after-run-{canvas.kind}.png")

    assert [canvas.shows_preview(canvas.id_of(sampler)) for sampler in (STAGE_ONE, STAGE_TWO)] == [True, True]
    assert room.faults(canvas) == []
    assert any("%" in title for title in canvas.page.evaluate("() => window.titles"))
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [192, 128]
    assert video.evaluate("video => video.duration") == pytest.approx(9 / 24, abs=0.06)
    assert canvas.complaints == []
    assert canvas.toasts() == []

    source = video.evaluate("video => video.currentSrc")
    film = canvas.context.request.get(source).body()
    canvas.clear()
    canvas.drop_file(film, "ltx-duo.mp4", "video/mp4")
    canvas.wait_for_nodes(len(workflow["nodes"]))
    assert canvas.prompt() == queued


def test_wrong_value_is_shown_on_its_node(canvas, workflow):
    guidance = canvas.id_of(GUIDANCE)
    canvas.type_value(guidance, "stg_blocks", "the last")
    canvas.run()
    canvas.error_overlay().wait_for()
    assert canvas.page.evaluate("() => app.graph._nodes.filter(node => node.has_errors).map(node => node.type)") == [
        GUIDANCE
    ]
    assert room.faults(canvas) == []
    canvas.error_overlay().get_by_role("button", name="View details").click()
    canvas.page.get_by_label("Info for LTX Guidance - stg_blocks").click()
    canvas.page.get_by_text("write 'auto' or block numbers with commas").first.wait_for()


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_what_is_likely_wrong_is_said_when_it_is_queued(canvas, workflow):
    for name, value in SMALL.items():
        canvas.type_value(canvas.id_of(STAGE_ONE), name, value)
    canvas.type_value(canvas.id_of("LTXDuoLoraLoader"), "strength_stage_two", 0)
    canvas.run()
    message = canvas.page.locator(TOAST, has_text="LTX Stage Two Sampler")
    message.get_by_text("Stage two's three steps need distilled weights").wait_for()
    canvas.page.locator("video").first.wait_for(timeout=120_000)  # a warning stops nothing
    message.get_by_role("button").click()
    message.wait_for(state="detached")


@pytest.mark.parametrize("tab", [Kind(False, True), Kind(True, False)], ids=str, indirect=True)
def test_decode_plays_the_video_that_nothing_else_takes(canvas, workflow):
    # A seed of its own: from ComfyUI's cache this node would show the same film in another test.
    for name, value in {**SMALL, "seed": 77}.items():
        canvas.type_value(canvas.id_of(STAGE_ONE), name, value)
    canvas.page.evaluate("() => app.graph.remove(app.graph._nodes.find(node => node.type === 'SaveVideo'))")
    canvas.run()
    video = canvas.page.locator("video").first
    video.wait_for(timeout=120_000)
    canvas.page.wait_for_function("() => document.querySelector('video').readyState === 4")
    assert "type=temp" in video.evaluate("video => video.currentSrc")
    assert canvas.complaints == []
