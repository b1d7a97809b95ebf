"""Takes pictures of the canvas of a real ComfyUI: README's workflow after a run, and the help pages' nodes.

    .local/venv/bin/python scripts/pictures/canvas.py [run | nodes]

Writes docs/image-to-video.jpg, for which the small trained model makes a film, and web/docs/nodes/*.jpg.
Needs what `bash scripts/setup.sh test` prepares.
"""

import io
import json
import shutil
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
from ltx_duo.ltx_core.text.negative_prompt import NEGATIVE_PROMPT  # noqa: E402
from ltx_duo.scripts.demo import models  # noqa: E402
from ltx_duo.scripts.demo.server import ComfyServer, make_base  # noqa: E402
from ltx_duo.scripts.demo.workflows import texts  # noqa: E402
from ltx_duo.scripts.demo.workflows.model_files import GEMMA  # noqa: E402
from ltx_duo.tests.canvas.canvas import SCREEN, SETTLE_MS, Box, Canvas, Kind, launch, store_settings  # noqa: E402
from ltx_duo.tests.servers import NAMES, PREVIEWS, furnish, stand_in  # noqa: E402

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


# What the small model is asked for, in the place of the workflow's own values, by the node's type.
ASKED = {
    "LTXDuoTextEncode": {texts.LAKE: "a blue square moving to the right", NEGATIVE_PROMPT: ""},
    "LTXDuoStageOneSampler": {1536: 256, 1024: 256, 121: 33},
    "LoadImage": {"example.png": "blue-square.png"},
}
SHOW_THE_MIDDLE = """async video => {
    video.pause();
    const shown = new Promise(done => video.addEventListener("seeked", done, { once: true }));
    video.currentTime = video.duration / 2;
    await shown;
}"""
RUN_SECONDS = 900


@contextmanager
def open_canvas(furnish_server) -> Iterator[Canvas]:
    """A classic canvas of 1440x900 on a server that `furnish_server(server, folder)` has given its files."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(make_base(Path(folder) / "comfyui"), arguments=PREVIEWS) as server,
        sync_playwright() as playwright,
    ):
        furnish_server(server, Path(folder))
        store_settings(server.url, **WITHOUT)
        browser = launch(playwright)
        yield Canvas(browser, server.url, Kind(nodes2=False, newest=False), scale=SCALE)
        browser.close()


def with_stand_ins(server: ComfyServer, folder: Path) -> None:
    """All files that the shipped workflows name, of a small model with random weights."""
    furnish(server, models.find(models.write_small_model(folder / "small-model")))


def with_trained_model(server: ComfyServer, _folder: Path) -> None:
    """The small trained model under its own names, its decoder for previews, and an image of its world."""
    models.link(models.trained(), server.base / "models")
    previews = server.base / "models" / "vae_approx"
    previews.mkdir(exist_ok=True)
    for file in (models.TRAINED / "vae_approx").iterdir():
        (previews / file.name).symlink_to(file)
    shutil.copy(PACK / "demo_model" / "blue-square.png", server.base / "input")


def read(name: str) -> dict:
    return json.loads((PACK / "workflows" / f"{name}.json").read_text())


def for_trained_model(graph: dict) -> dict:
    """The workflow with the small trained model's files and what it is asked for."""
    found = models.trained()
    for node in graph["nodes"]:
        node["properties"].pop("models", None)
        own = ASKED.get(node["type"], {})
        node["widgets_values"] = [own.get(value, value) for value in node["widgets_values"]]
        for place, value in enumerate(node["widgets_values"]):
            what = ("text encoder" if value == GEMMA.name else stand_in(value)) if isinstance(value, str) else None
            if what:
                node["widgets_values"][place] = found[what].name
    return graph


def photograph(canvas: Canvas, box: Box) -> Image.Image:
    picture = Image.open(io.BytesIO(canvas.page.screenshot()))
    sides = (box.left - MARGIN, box.top - MARGIN, box.right + MARGIN, min(box.bottom + MARGIN, SCREEN["height"]))
    return picture.crop([round(side * SCALE) for side in sides]).convert("RGB")


def photograph_run(canvas: Canvas, name: str) -> Image.Image:
    """The workflow with the film that the small model has made, cut to its groups and notes."""
    canvas.load(for_trained_model(read(name)), name)
    canvas.run()
    film = canvas.page.locator("video").first
    film.wait_for(timeout=1000 * RUN_SECONDS)
    canvas.page.wait_for_function("() => document.querySelector('video').readyState === 4")
    film.evaluate(SHOW_THE_MIDDLE)
    canvas.page.mouse.move(700, 880)  # off the film, whose controls go
    canvas.page.wait_for_timeout(10 * SETTLE_MS)
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
    wanted = sys.argv[1:] or ["run", "nodes"]
    if "run" in wanted:
        with open_canvas(with_trained_model) as canvas:
            save(photograph_run(canvas, README_WORKFLOW), PACK / "docs" / f"{README_WORKFLOW}.jpg", MOST_BYTES)
    if "nodes" in wanted:
        with open_canvas(with_stand_ins) as canvas:
            for node_type, picture in photograph_nodes(canvas):
                save(picture, PACK / "web" / "docs" / "nodes" / f"{node_type}.jpg", MOST_BYTES_OF_A_NODE)


if __name__ == "__main__":
    main()
