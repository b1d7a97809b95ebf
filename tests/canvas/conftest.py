"""A browser, and a tab for every kind of canvas; each test leaves a screenshot in .local/screenshots."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from ltx_duo.scripts.demo import models, photo
from ltx_duo.scripts.demo.server import LOCAL, ComfyServer, make_base
from ltx_duo.tests.canvas.canvas import CHROMIUM, CHROMIUM_ARGUMENTS, Canvas, Kind
from ltx_duo.tests.servers import running

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.rglob("*.api.json"))
NEWEST_FRONT_END = LOCAL / "frontend-1.58.1" / "comfyui_frontend_package" / "static"
SCREENSHOTS = LOCAL / "screenshots"
KINDS = [Kind(nodes2, newest) for newest in (False, True) for nodes2 in (False, True)]

# The small model's files stand in for the official ones under their names: workflows run as they are shipped.
STAND_INS = (
    ("*upscaler*.safetensors", "upsampler"),
    ("*lora*.safetensors", "distilled LoRA"),
    ("gemma*", "text encoder"),
    ("ltx-2*.safetensors", "checkpoint"),
)


def named_files() -> set[str]:
    """The names of all files in the shipped workflows' inputs that look like a model's."""
    prompts = [json.loads(path.read_text()) for path in WORKFLOWS.rglob("*.api.json")]
    values = [value for prompt in prompts for entry in prompt.values() for value in entry["inputs"].values()]
    return {value for value in values if isinstance(value, str) and stand_in(value)}


def stand_in(name: str) -> str | None:
    return next((what for pattern, what in STAND_INS if fnmatch(name, pattern)), None)


def furnish(server: ComfyServer, small_model: dict[str, Path]) -> ComfyServer:
    """Gives a server all files that the workflows name, and the image that ComfyUI ships."""
    for name in named_files():
        what = stand_in(name)
        models.link({what: small_model[what]}, server.base / "models", {what: name})
    photo.draw(server.base / "input" / "example.png", 768, 512)
    return server


@pytest.fixture(scope="session")
def furnished_server(server, small_model) -> ComfyServer:
    return furnish(server, small_model)


@pytest.fixture(scope="session")
def newest_front_end_server(small_model, tmp_path_factory) -> Iterator[ComfyServer]:
    base = make_base(tmp_path_factory.mktemp("newest-front-end"))
    arguments = ["--front-end-root", str(NEWEST_FRONT_END)]
    for newest in running(ComfyServer(base, arguments=arguments)):
        yield furnish(newest, small_model)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=KINDS, ids=str)
def tab(request, browser) -> Iterator[Canvas]:
    """One tab for each kind of canvas, shared by its tests; `canvas` is what tests use."""
    name = "newest_front_end_server" if request.param.newest else "furnished_server"
    canvas = Canvas(browser, request.getfixturevalue(name).url, request.param)
    yield canvas
    canvas.close()


@pytest.fixture
def canvas(tab, request) -> Iterator[Canvas]:
    """An empty canvas; what is on it at the test's end is kept as a picture."""
    tab.clear()
    yield tab
    tab.screenshot(screenshot_path(request.node.name))


def screenshot_path(test_name: str) -> Path:
    return SCREENSHOTS / (re.sub(r"[^\w.-]+", "-", test_name).strip("-") + ".png")
