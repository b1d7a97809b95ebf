"""The trained model, loaded once, with all clips of the session; prints what was measured at the end."""

from pathlib import Path

import pytest

from ltx_duo.scripts.demo.server import GEMMA_270M
from ltx_duo.tests.demo_model.meaning.ceiling import through_autoencoders
from ltx_duo.tests.demo_model.meaning.numbers import MEASURED, Measured
from ltx_duo.tests.demo_model.meaning.studio import PACK, Film, Model, Studio
from ltx_duo.tests.demo_model.meaning.takes import IMAGES, TEXTS


def pytest_addoption(parser):
    parser.addoption("--model", type=Path, default=None, help="folder of another model to ask for meaning")


def pytest_terminal_summary(terminalreporter):
    if not MEASURED.rows and not MEASURED.mistakes:
        return
    terminalreporter.section("meaning: measured >= bar")
    for line in [*MEASURED.rows, *MEASURED.mistakes]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def model(request) -> Model:
    folder = request.config.getoption("--model", default=None) or PACK / "demo_model" / "files"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there yet: demo_model/train.py makes it, on a GPU")
    assert GEMMA_270M.is_dir(), f"{GEMMA_270M} is not there: run scripts/setup.sh test"
    return Model.load(folder)


@pytest.fixture(scope="session")
def studio(model) -> Studio:
    return Studio(model)


@pytest.fixture(scope="session")
def text_films(studio) -> list[Film]:
    return [studio.film(take) for take in TEXTS]


@pytest.fixture(scope="session")
def image_films(studio) -> list[Film]:
    return [studio.film(take) for take in IMAGES]


@pytest.fixture(scope="session")
def ceiling_films(model) -> list[Film]:
    return [through_autoencoders(model, take) for take in IMAGES]


@pytest.fixture(scope="session")
def measured() -> Measured:
    return MEASURED
