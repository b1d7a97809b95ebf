"""Wires of ComfyUI's own MODEL on the canvas: they fit where a model is wanted, and nothing else does."""

import pytest

CONNECT = """([from, output, to, name]) => {
    const node = app.graph.getNodeById(to);
    app.graph.getNodeById(from).connect(output, node, node.inputs.findIndex(input => input.name === name));
}"""


@pytest.mark.parametrize("node_type", ["LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoLoraLoader"])
def test_model_of_comfyui_fits(canvas, node_type):
    core, ours = canvas.add("CheckpointLoaderSimple", 60, 120), canvas.add("LTXDuoModelLoader", 60, 400)
    node = canvas.add(node_type, 560, 120)
    for source, output, taken in ((core, 0, True), (ours, 0, True), (core, 1, False)):
        canvas.page.evaluate("id => app.graph.getNodeById(id).disconnectInput(0)", node)
        canvas.page.evaluate(CONNECT, [source, output, node, "model"])
        inputs = canvas.prompt()[str(node)]["inputs"]
        assert inputs.get("model") == ([str(source), output] if taken else None)
    assert canvas.toasts() == []
