"""What a node told of its run stays on it when the job has ended, and comes back with the workflow."""

import json
import re
import uuid

import pytest

from ltx_duo.tests.canvas import room
from ltx_duo.tests.canvas.canvas import SETTLE_MS, Kind
from ltx_duo.tests.servers import WORKFLOWS

SMALL = {"width": 192, "height": 128, "frames": 9, "steps": 3, "seed": 501}
STAGE_ONE, STAGE_TWO = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
REPORTS = [r"3 steps x 4 passes, .* s a step, .* s; sigma 1 to 0", r"3 steps x 1 pass, .*; sigma 0\.9094 to 0"]
EMPTY_PLACE = (720, 890)
TRACKER = "app.extensionManager.workflow.activeWorkflow.changeTracker"
OUR_NODES = "state => state.nodes.filter(node => node.type.includes('Sampler')).map(node => node.properties)"


# Where nothing but our own nodes shows something: a player of ComfyUI's own changes its node's size.
KEEP_LATENT = """() => {
    const [decode, save, stageTwo] = ["LTXDuoAVDecode", "SaveVideo", "LTXDuoStageTwoSampler"].map(
        type => app.graph._nodes.find(node => node.type === type)
    );
    const keep = LiteGraph.createNode("LTXDuoSaveLatent");
    keep.pos = decode.pos;
    app.graph.remove(decode);
    app.graph.remove(save);
    app.graph.add(keep);
    stageTwo.connect(0, keep, 0);
    app.graph.updateExecutionOrder();
}"""
SET = "([id, name, value]) => { app.graph.getNodeById(id).widgets.find(w => w.name === name).value = value; }"
# What every node shows of its work, each time that one tells of it.
WATCH_TEXTS = """() => {
    window.shownTexts = [];
    window.jobEnded = false;
    app.api.addEventListener("execution_success", () => (window.jobEnded = true));
    const shown = node => (node.widgets ?? []).filter(w => w.name === "$$node-text-preview");
    app.api.addEventListener("progress_text", () => window.shownTexts.push(
        app.graph._nodes.flatMap(node => shown(node).map(widget => [node.type, widget.value]))
    ));
}"""


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


@pytest.mark.parametrize("tab", [Kind(False, False), Kind(True, True)], ids=str, indirect=True)
def test_a_run_shows_what_is_done_now_and_adds_no_undo_step(canvas):
    canvas.load(json.loads((WORKFLOWS / "text-to-video.json").read_text()), "text-to-video")
    canvas.page.evaluate(KEEP_LATENT)
    sampler = canvas.id_of(STAGE_ONE)
    for name, value in SMALL.items():
        canvas.type_value(sampler, name, value)
    canvas.page.evaluate(SET, [sampler, "control_after_generate", "fixed"])
    canvas.page.evaluate(SET, [canvas.id_of("LTXDuoTextEncode"), "prompt", f"not encoded before, {uuid.uuid4()}"])
    canvas.page.mouse.click(*EMPTY_PLACE)
    canvas.page.wait_for_timeout(SETTLE_MS)
    steps = canvas.page.evaluate(f"() => {TRACKER}.undoQueue.length")
    canvas.page.evaluate(WATCH_TEXTS)
    canvas.run()
    canvas.page.wait_for_function("() => window.jobEnded")
    canvas.page.wait_for_timeout(2 * SETTLE_MS)
    canvas.page.mouse.click(*EMPTY_PLACE)
    canvas.page.wait_for_timeout(SETTLE_MS)
    assert canvas.report(sampler)
    assert canvas.page.evaluate(f"() => {TRACKER}.undoQueue.length") == steps

    shown = canvas.page.evaluate("() => window.shownTexts")
    assert ["LTXDuoTextEncode", "encoding prompt 1"] in [text for texts in shown for text in texts]
    sampling = [texts for texts in shown if [STAGE_ONE, "sampling"] in texts]
    assert sampling and all(kind != "LTXDuoTextEncode" for texts in sampling for kind, _ in texts)
