"""A browser, and a tab for every kind of canvas; each test leaves a screenshot in .local/screenshots."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from ltx_duo.scripts.demo.server import LOCAL, ComfyServer, make_base
from ltx_duo.tests.canvas.canvas import Canvas, Kind, launch
from ltx_duo.tests.servers import PREVIEWS, furnish, running

NEWEST_FRONT_END = LOCAL / "frontend-newest" / "comfyui_frontend_package" / "static"
SCREENSHOTS = LOCAL / "screenshots"
KINDS = [Kind(nodes2, newest) for newest in (False, True) for nodes2 in (False, True)]


@pytest.fixture(scope="session")
def newest_front_end_server(small_model, tmp_path_factory) -> Iterator[ComfyServer]:
    base = make_base(tmp_path_factory.mktemp("newest-front-end"))
    arguments = ["--front-end-root", str(NEWEST_FRONT_END), *PREVIEWS]
    for newest in running(ComfyServer(base, arguments=arguments)):
        yield furnish(newest, small_model)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
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
