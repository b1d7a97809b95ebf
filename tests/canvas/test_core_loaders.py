"""The workflow with ComfyUI's own loaders and text encode runs from the canvas."""

import json

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import Canvas, Kind
from ltx_duo.tests.canvas.conftest import SCREENSHOTS
from ltx_duo.tests.servers import WORKFLOWS

NAME = "from-core-loaders"
SMALL = {"width": 128, "height": 64, "frames": 9, "steps": 2}


def test_runs(browser, core_server):
    """On one kind of canvas: test_workflows_load sees that another queues the same."""
    canvas = Canvas(browser, core_server.url, Kind(nodes2=True, newest=False))
    try:
        canvas.clear()
        canvas.load(json.loads((WORKFLOWS / f"{NAME}.json").read_text()), NAME)
        for name, value in SMALL.items():
            canvas.type_value(canvas.id_of("LTXDuoStageOneSampler"), name, value)
        canvas.run()
        video = canvas.page.locator("video").first
        video.wait_for(timeout=180_000)
        canvas.page.wait_for_function("() => document.querySelector('video').readyState === 4")
        canvas.screenshot(SCREENSHOTS / f"after-run-{NAME}-{canvas.kind}.png")
        assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [128, 64]
        assert room.faults(canvas) == []
        assert canvas.complaints == []
        assert canvas.toasts() == []
    finally:
        canvas.close()
