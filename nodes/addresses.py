"""Where published model files can be got: what the shipped workflows offer to download."""

import json
from functools import lru_cache
from pathlib import Path, PureWindowsPath

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"


def page_of(name: str) -> str | None:
    """The page of a file, by its name without folders; None when no workflow names it."""
    return _pages().get(PureWindowsPath(name).name)


@lru_cache(maxsize=1)
def _pages() -> dict[str, str]:
    """By name; the workflows are read at the first file that is missing, and not before."""
    nodes = [node for path in WORKFLOWS.glob("*.json") for node in json.loads(path.read_text("utf-8")).get("nodes", [])]
    offers = [offer for node in nodes for offer in node.get("properties", {}).get("models", [])]
    return {offer["name"]: offer["url"].replace("/resolve/", "/blob/", 1) for offer in offers}
