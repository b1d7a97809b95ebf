"""Takes docs/image-to-video.jpg: the workflow on the canvas of a real ComfyUI, as a person meets it.

    .local/venv/bin/python scripts/pictures/canvas.py [WORKFLOW_NAME]

Needs what `bash scripts/setup.sh test` prepares.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "scripts"))
import small_model  # noqa: E402

small_model.load_pack()
from ltx_duo.scripts.demo import models  # noqa: E402
from ltx_duo.scripts.demo.server import ComfyServer, make_base  # noqa: E402
from ltx_duo.tests.canvas.canvas import SCREEN, Canvas, Kind, launch, store_settings  # noqa: E402
from ltx_duo.tests.servers import furnish  # noqa: E402

MOST_BYTES = 300_000
WITHOUT = {"Minimap__Visible": False, "Graph__CanvasInfo": False, "Graph__CanvasMenu": False}
MARGIN = 14


def photograph(name: str) -> Image.Image:
    """The workflow at 1440x900, cut to its groups and notes."""
    graph = json.loads((PACK / "workflows" / f"{name}.json").read_text())
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        found = models.find(models.write_small_model(Path(folder) / "small-model"))
        with ComfyServer(make_base(Path(folder) / "comfyui")) as server:
            furnish(server, found)
            store_settings(server.url, **WITHOUT)
            browser = launch(playwright)
            canvas = Canvas(browser, server.url, Kind(nodes2=False, newest=False), scale=1.5)
            canvas.load(graph, name)
            picture = Image.open(io.BytesIO(canvas.page.screenshot()))
            left, top, right, bottom = canvas.page.evaluate("() => screenPlaces.everything()")
            browser.close()
    box = (left - MARGIN, top - MARGIN, right + MARGIN, min(bottom + MARGIN, SCREEN["height"]))
    return picture.crop([round(side * 1.5) for side in box]).convert("RGB")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "image-to-video"
    picture, target = photograph(name), PACK / "docs" / f"{name}.jpg"
    for quality in range(90, 40, -5):
        picture.save(target, quality=quality, optimize=True, progressive=True)
        if target.stat().st_size <= MOST_BYTES:
            break
    print(f"{target}: {picture.width}x{picture.height}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
