"""What a node told of its run stays on it when the job has ended, and comes back with the workflow."""

import json
import re

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import SETTLE_MS, Kind
from ltx_duo.tests.servers import WORKFLOWS

SMALL = {"width": 192, "height": 128, "frames": 9, "steps": 3, "seed": 501}
STAGE_ONE, STAGE_TWO = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
REPORTS = [r"3 steps x 4 passes, .* s a step, .* s; sigma 1 to 0", r"3 steps x 1 pass, .*; sigma 0\.9094 to 0"]
TRACKER = "app.extensionManager.workflow.activeWorkflow.changeTracker"
OUR_NODES = "state => state.nodes.filter(node => node.type.includes('Sampler')).map(node => node.properties)"


def what_is_queued(canvas) -> dict:
    """The workflow that goes along with a prompt when Run is pressed; nothing runs."""
    sent = []

    def answer(route):
        sent.append(route.request.post_data_json["extra_data"]["extra_pnginfo"]["workflow"])
        route.fulfill(json={"prompt_id": "none", "number": 0, "node_errors": {}})

    canvas.page.route("**/api/prompt", answer)
    canvas.run()
    canvas.page.wait_for_timeout(2 * SETTLE_MS)
    canvas.page.unroute("**/api/prompt")
    (workflow,) = sent
    return workflow


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_stays_on_its_node_and_comes_back_with_the_workflow(canvas):
    canvas.load(json.loads((WORKFLOWS / "text-to-video.json").read_text()), "text-to-video")
    samplers = [canvas.id_of(sampler) for sampler in (STAGE_ONE, STAGE_TWO)]
    for name, value in {**SMALL, "seed": SMALL["seed"] + canvas.kind.newest}.items():
        canvas.type_value(samplers[0], name, value)
    canvas.run()
    canvas.page.locator("video").first.wait_for(timeout=120_000)
    canvas.page.wait_for_timeout(2 * SETTLE_MS)  # the job has ended, and with it what ComfyUI shows of it
    shown = [canvas.report(sampler) for sampler in samplers]
    for text, pattern in zip(shown, REPORTS, strict=True):
        assert re.fullmatch(pattern, text)
    assert room.faults(canvas) == []

    # It is no change of the workflow, and nothing that is queued.
    saved = canvas.page.evaluate(f"() => ({OUR_NODES})({TRACKER}.activeState)")
    now = canvas.graph()
    assert saved == [node["properties"] for node in now["nodes"] if "Sampler" in node["type"]]
    assert shown[0] in json.dumps(now)
    queued = what_is_queued(canvas)
    assert [node["type"] for node in queued["nodes"]].count(STAGE_ONE) == 1
    assert "ltx_duo_report" not in json.dumps(queued)
    assert shown[0] in json.dumps(canvas.graph())

    canvas.clear()
    canvas.load(now, "text-to-video")
    assert [canvas.report(sampler) for sampler in samplers] == shown
    assert canvas.complaints == []


@pytest.mark.parametrize("tab", [Kind(True, False)], ids=str, indirect=True)
def test_is_gone_when_its_node_runs_again(canvas):
    graph = json.loads((WORKFLOWS / "text-to-video.json").read_text())
    canvas.load(graph, "text-to-video")
    sampler = canvas.id_of(STAGE_ONE)
    send = "([id, text]) => app.graph.getNodeById(id).onExecuted({ text: [text] })"
    canvas.page.evaluate(send, [sampler, "as before"])
    assert canvas.report(sampler) == "as before"
    canvas.page.evaluate("id => app.api.dispatchCustomEvent('executing', String(id))", sampler)
    canvas.page.wait_for_timeout(SETTLE_MS)
    assert canvas.report(sampler) is None
    assert "ltx_duo_report" not in json.dumps(canvas.graph())
