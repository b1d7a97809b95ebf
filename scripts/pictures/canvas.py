"""Takes pictures of the canvas of a real ComfyUI: README's workflow, and the help pages' nodes.

    .local/venv/bin/python scripts/pictures/canvas.py [WORKFLOW_NAME]

Writes docs/image-to-video.jpg and web/docs/nodes/*.jpg, or only docs/WORKFLOW_NAME.jpg.
Needs what `bash scripts/setup.sh test` prepares.
"""

import io
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "scripts"))
import small_model  # noqa: E402

small_model.load_pack()
from ltx_duo.scripts.demo import models  # noqa: E402
from ltx_duo.scripts.demo.server import ComfyServer, make_base  # noqa: E402
from ltx_duo.tests.canvas.canvas import SCREEN, SETTLE_MS, Box, Canvas, Kind, launch, store_settings  # noqa: E402
from ltx_duo.tests.servers import NAMES, furnish  # noqa: E402

README_WORKFLOW = "image-to-video"
MOST_BYTES = 300_000
MOST_BYTES_OF_A_NODE = 30_000
WITHOUT = {"Minimap__Visible": False, "Graph__CanvasInfo": False, "Graph__CanvasMenu": False}
SCALE = 1.5
MARGIN = 14
BADGE = 10
"""How far a node's badge stands out of the margin above the node; below, the next node's badge stays out."""

FAR_AWAY = 9000  # from the nodes of a workflow

# Without the room that the workflow leaves for what a node shows of its run.
SHOW_IN_THE_MIDDLE = """id => {
    const node = app.graph.getNodeById(id);
    const hasText = node.widgets?.some(widget => widget.type === "customtext");
    if (!hasText) node.setSize([node.size[0], node.computeSize()[1]]);
    const [x, y, width, height] = node.getBounding();
    const canvas = app.canvas.canvas.getBoundingClientRect();
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [(canvas.width - width) / 2 - x, (canvas.height - height) / 2 - y];
    app.canvas.setDirty(true, true);
}"""


@contextmanager
def open_canvas() -> Iterator[Canvas]:
    """A classic canvas of 1440x900 with all files that the shipped workflows name."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        found = models.find(models.write_small_model(Path(folder) / "small-model"))
        with ComfyServer(make_base(Path(folder) / "comfyui")) as server:
            furnish(server, found)
            store_settings(server.url, **WITHOUT)
            browser = launch(playwright)
            yield Canvas(browser, server.url, Kind(nodes2=False, newest=False), scale=SCALE)
            browser.close()


def read(name: str) -> dict:
    return json.loads((PACK / "workflows" / f"{name}.json").read_text())


def photograph(canvas: Canvas, box: Box) -> Image.Image:
    picture = Image.open(io.BytesIO(canvas.page.screenshot()))
    sides = (box.left - MARGIN, box.top - MARGIN, box.right + MARGIN, min(box.bottom + MARGIN, SCREEN["height"]))
    return picture.crop([round(side * SCALE) for side in sides]).convert("RGB")


def photograph_workflow(canvas: Canvas, name: str) -> Image.Image:
    """The workflow, cut to its groups and notes."""
    canvas.load(read(name), name)
    return photograph(canvas, Box(*canvas.page.evaluate("() => screenPlaces.everything()")))


def photograph_nodes(canvas: Canvas) -> Iterator[tuple[str, Image.Image]]:
    """Each of the pack's nodes at its natural size: from README's workflow, else from the first that has it, and those
    that none has beside the last."""
    seen = set()
    for name in sorted(NAMES, key=lambda name: name != README_WORKFLOW):
        graph = read(name)
        new = {node["type"]: node["id"] for node in graph["nodes"] if node["type"].startswith("LTXDuo")}
        new = {node_type: identifier for node_type, identifier in new.items() if node_type not in seen}
        if new:
            canvas.load(graph, name)
        for node_type, identifier in new.items():
            yield node_type, photograph_node(canvas, node_type, identifier)
        seen.update(new)
    for number, node_type in enumerate(sorted(node_types() - seen), start=1):
        yield node_type, photograph_node(canvas, node_type, canvas.add(node_type, 0, -number * FAR_AWAY))


def photograph_node(canvas: Canvas, node_type: str, identifier: int | str) -> Image.Image:
    canvas.page.evaluate(SHOW_IN_THE_MIDDLE, identifier)
    canvas.page.wait_for_timeout(SETTLE_MS)
    box = canvas.boxes()[f"{node_type} {identifier}"]
    return photograph(canvas, replace(box, top=box.top - BADGE))


def node_types() -> set[str]:
    return set(json.loads((PACK / "locales" / "en" / "nodeDefs.json").read_text()))


def save(picture: Image.Image, target: Path, most_bytes: int) -> None:
    target.parent.mkdir(exist_ok=True)
    for quality in range(90, 20, -5):
        picture.save(target, quality=quality, optimize=True, progressive=True)
        if target.stat().st_size <= most_bytes:
            break
    print(f"{target}: {picture.width}x{picture.height}, {target.stat().st_size} bytes")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else README_WORKFLOW
    with open_canvas() as canvas:
        save(photograph_workflow(canvas, name), PACK / "docs" / f"{name}.jpg", MOST_BYTES)
        if len(sys.argv) == 1:
            for node_type, picture in photograph_nodes(canvas):
                save(picture, PACK / "web" / "docs" / "nodes" / f"{node_type}.jpg", MOST_BYTES_OF_A_NODE)


if __name__ == "__main__":
    main()
