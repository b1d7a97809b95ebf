"""Drives ComfyUI's canvas in a browser as a person does: with mouse and keyboard, reading what is on the screen."""

import base64
import json
import os
import re
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Playwright

SCREEN = {"width": 1440, "height": 900}
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = "window.app?.vueAppReady === true && !!window.app?.extensionManager?.workflow?.activeWorkflow"
SETTLE_MS = 500
"""How long the front end may need to look for missing files and to draw, after a graph has been loaded."""

TOAST = ".p-toast-message, [data-testid=toast]"
# The workflow that ComfyUI itself opens first names a file on a host that its own rules forbid to ask.
NOT_OURS = re.compile(r"z_image_turbo|user\.css|comfy\.templates\.json|/api/userdata\?dir=")

CLOSE_PANEL = "() => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)"
PAGE_SCRIPT = Path(__file__).with_name("page.js")


@dataclass(frozen=True)
class Kind:
    """Which canvas: drawn (classic) or made of page elements (Nodes 2.0), of the pinned or the newest front end."""

    nodes2: bool
    newest: bool

    def __str__(self) -> str:
        return f"{'nodes2' if self.nodes2 else 'classic'}-{'newest' if self.newest else 'pinned'}"


@dataclass(frozen=True)
class Box:
    """A rectangle on the screen, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box", tolerance: float = 1.0) -> bool:
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return min(across, down) > tolerance

    def inside(self, other: "Box", tolerance: float = 1.0) -> bool:
        beyond = (other.left - self.left, other.top - self.top, self.right - other.right, self.bottom - other.bottom)
        return max(beyond) <= tolerance


def launch(playwright: Playwright) -> Browser:
    """The system's Chromium or Chrome: playwright's own would have to be downloaded."""
    found = os.environ.get("LTXDUO_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is installed: run scripts/setup.sh test")
    return playwright.chromium.launch(executable_path=found, args=CHROMIUM_ARGUMENTS)


def store_settings(url: str, **settings) -> None:
    """Keeps settings for the server's user, as the settings dialog does; `__` in a name stands for its dot."""
    for name, value in settings.items():
        request = urllib.request.Request(
            f"{url}/settings/Comfy.{name.replace('__', '.')}",
            json.dumps(value).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=30).close()


class Canvas:
    """One browser tab with ComfyUI."""

    def __init__(
        self, browser: Browser, url: str, kind: Kind, locale: str = "en", scale: float = 1, asks_hosts: bool = False
    ):
        """`asks_hosts`: may ask other hosts, which ComfyUI without API nodes, as it is started here, forbids."""
        self.kind = kind
        store_settings(url, VueNodes__Enabled=kind.nodes2, Locale=locale)
        self.context = browser.new_context(viewport=SCREEN, device_scale_factor=scale, bypass_csp=asks_hosts)
        self.context.add_init_script(path=PAGE_SCRIPT)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.complaints: list[str] = []
        self.opened = 0
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("console", self._on_console)
        self.page.goto(url)
        self.page.wait_for_function(READY, timeout=60_000)
        self.page.wait_for_timeout(SETTLE_MS)

    def close(self) -> None:
        self.context.close()

    def _on_console(self, message) -> None:
        place = message.location.get("url", "")
        if message.type == "error" and not NOT_OURS.search(f"{message.text} {place}"):
            self.complaints.append(f"console: {message.text} ({place})")

    # ---- the graph ---------------------------------------------------------------------------------------------------

    def load(self, graph: dict, name: str) -> None:
        """Opens a workflow in a tab of its own, as choosing its file does."""
        self.complaints.clear()
        self.opened += 1  # a name that was open before would come back with its old view
        name = f"{name} {self.opened}"
        self.page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, name])
        self.wait_for_nodes(len(graph["nodes"]))
        self.page.wait_for_timeout(SETTLE_MS)

    def wait_for_nodes(self, count: int) -> None:
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=count)
        if self.kind.nodes2:
            self.page.wait_for_function(
                "count => document.querySelectorAll('[data-node-id]').length === count", arg=count
            )

    def clear(self) -> None:
        """An empty canvas at its natural size, with every panel closed."""
        self.page.keyboard.press("Escape")
        self.page.evaluate(CLOSE_PANEL)
        self.complaints.clear()
        self.page.evaluate("() => { app.graph.clear(); app.canvas.ds.reset(); }")
        self.wait_for_nodes(0)

    def add(self, node_type: str, x: float, y: float) -> str:
        """Puts a node on the canvas by code; returns its id."""
        identifier = self.page.evaluate(
            """([type, x, y]) => {
                const node = LiteGraph.createNode(type);
                node.pos = [x, y];
                app.graph.add(node);
                return node.id;
            }""",
            [node_type, x, y],
        )
        self.wait_for_nodes(self.page.evaluate("() => app.graph._nodes.length"))
        self.page.wait_for_timeout(SETTLE_MS)
        return identifier

    def prompt(self) -> dict:
        """What would be queued, in API format, without notes on the side."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return {node: {key: entry[key] for key in ("class_type", "inputs")} for node, entry in prompt.items()}

    def graph(self) -> dict:
        return json.loads(self.page.evaluate("() => JSON.stringify(app.graph.serialize())"))

    def node_types(self) -> list[str]:
        return self.page.evaluate("() => app.graph._nodes.map(node => node.type)")

    def id_of(self, node_type: str) -> str:
        return self.page.evaluate("type => app.graph._nodes.find(node => node.type === type).id", node_type)

    def unknown_nodes(self) -> list[str]:
        """Types of nodes that the front end has no definition of; its own notes have none either."""
        return self.page.evaluate(
            """() => app.graph._nodes.filter(node => !node.isVirtualNode && !node.constructor.nodeData)
                .map(node => node.type)"""
        )

    # ---- the screen --------------------------------------------------------------------------------------------------

    def element(self, node_id: str) -> Locator:
        """A node's page element (Nodes 2.0 only)."""
        return self.page.locator(f"[data-node-id='{node_id}']")

    def place(self, what: str, *arguments: str) -> tuple[float, float]:
        """Where on the screen a node's title, slot or widget is (see page.js)."""
        return self.page.evaluate("([what, ...rest]) => screenPlaces[what](...rest)", [what, *arguments])

    def boxes(self) -> dict[str, Box]:
        """Every node's rectangle on the screen, by '<type> <id>'."""
        which = "elementBoxes" if self.kind.nodes2 else "drawnBoxes"
        return {name: Box(*sides) for name, *sides in self.page.evaluate(f"() => screenPlaces.{which}()")}

    def groups(self) -> dict[str, Box]:
        """Every group's frame on the screen, by its title."""
        return {title: Box(*sides) for title, *sides in self.page.evaluate("() => screenPlaces.groupBoxes()")}

    def bars(self) -> dict[str, Box]:
        """What ComfyUI lays over the canvas all the time, on the screen."""
        return {name: Box(*sides) for name, *sides in self.page.evaluate("() => screenPlaces.barBoxes()")}

    def shows_preview(self, node_id: str) -> bool:
        """Whether a picture of what is being sampled is on the node."""
        if self.kind.nodes2:
            return self.element(node_id).locator("img[src^='blob:']").is_visible()
        return self.page.evaluate("id => app.graph.getNodeById(id).imgs?.length > 0", node_id)

    def report(self, node_id: str) -> str | None:
        """What a node shows of its last run."""
        element = self.page.evaluate_handle(
            "id => app.graph.getNodeById(id).widgets.find(w => w.name === 'ltx_duo_report')?.element", node_id
        ).as_element()
        return element.inner_text() if element and element.is_visible() else None

    def cut_notes(self) -> list[str]:
        """Titles of the notes whose text is longer than they are high."""
        return self.page.evaluate("() => screenPlaces.cutNotes()")

    def toasts(self) -> list[str]:
        return self.page.locator(TOAST).all_inner_texts()

    def error_overlay(self) -> Locator:
        return self.page.get_by_test_id("error-overlay")

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    # ---- hands -------------------------------------------------------------------------------------------------------

    def type_value(self, node_id: str, name: str, value: float | str) -> None:
        """Types a value into a node's widget."""
        if self.kind.nodes2:
            label = self.page.get_by_text(name.replace("_", " "), exact=True)
            field = self.element(node_id).get_by_test_id("node-widget").filter(has=label).locator("input")
            field.click(force=True)  # a layer that turns dragging into counting lies above it and passes clicks on
        else:
            self.page.mouse.click(*self.place("widget", node_id, name))
            field = self.page.locator(".graphdialog .value")
        field.fill(str(value))
        field.press("Enter")
        self.page.wait_for_function(
            "([id, name, value]) => app.graph.getNodeById(id).widgets.find(w => w.name === name).value === value",
            arg=[node_id, name, value],
        )

    def search(self, place: tuple[float, float], words: str) -> None:
        """Opens the node search by a double click on an empty place, and types into it."""
        field = self.page.get_by_placeholder("Add a node")
        for _ in range(3):  # while ComfyUI is busy a double click may be lost: a person clicks again
            self.page.mouse.dblclick(*place)
            self.page.wait_for_timeout(SETTLE_MS)
            if field.is_visible():
                break
        field.fill(words)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
        self.page.mouse.move(*middle, steps=3)
        self.page.mouse.move(*end, steps=3)
        self.page.mouse.up()

    def select(self, node_id: str) -> None:
        """Clicks a node's title."""
        self.page.mouse.click(*self.place("title", node_id))

    def drop_file(self, content: bytes, name: str, mime: str) -> None:
        """Lets a file fall onto the middle of the canvas."""
        self.page.evaluate(
            """([base64, name, type]) => {
                const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], name, { type }));
                const place = { clientX: 700, clientY: 850, bubbles: true, cancelable: true, dataTransfer };
                for (const kind of ["dragenter", "dragover", "drop"])
                    app.canvas.canvas.dispatchEvent(new DragEvent(kind, place));
            }""",
            [base64.b64encode(content).decode(), name, mime],
        )

    def run(self) -> None:
        self.page.get_by_test_id("queue-button").click()
