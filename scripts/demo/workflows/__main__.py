"""Writes the shipped workflows, their cards, the blueprints and the help pages' pictures.

A ComfyUI is asked for the nodes' inputs.  After `bash scripts/setup.sh demo`, in the folder scripts:
`../.local/venv/bin/python -m demo.workflows`
"""

import tempfile
from pathlib import Path

from ..client import Client
from ..server import PACK, ComfyServer, make_base
from . import blueprints, canvas, cards, catalogue


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(make_base(Path(base))) as server:
        object_info = Client(server.url).get("/object_info")
    for workflow in catalogue.WORKFLOWS:
        place = PACK / "workflows" / workflow.name
        place.with_suffix(".json").write_text(canvas.to_text(canvas.to_canvas(workflow, object_info)))
        # In a folder of their own: ComfyUI lists every JSON file beside the canvas ones as a template.
        api = PACK / "workflows" / "api" / f"{workflow.name}.api.json"
        api.write_text(canvas.to_text(canvas.to_api(workflow, object_info)))
        cards.draw(workflow.name, place.with_suffix(".jpg"))
        print(workflow.name)
    for blueprint in blueprints.BLUEPRINTS:
        content = blueprints.to_file(blueprint, object_info)
        (PACK / "subgraphs" / f"{blueprint.title}.json").write_text(canvas.to_text(content))
        print(blueprint.title)
    for name in cards.HELP_PICTURES:
        cards.draw(name, PACK / "web" / "docs" / f"{name}.jpg")


if __name__ == "__main__":
    main()
