"""The trained model, loaded once, with all clips of the session; prints what was measured at the end."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.scripts.demo.server import GEMMA_270M
from ltx_duo.tests.demo_model.meaning.ceiling import through_autoencoders
from ltx_duo.tests.demo_model.meaning.measured import MEASURED, Measured
from ltx_duo.tests.demo_model.meaning.studio import PACK, Film, Model, Studio, once
from ltx_duo.tests.demo_model.meaning.takes import IMAGES, TEXTS

README = Path(__file__).with_name("README.md")


def pytest_addoption(parser):
    parser.addoption("--model", type=Path, default=None, help="folder of another model to ask for meaning")
    parser.addoption(
        "--write-mistakes",
        action="store_true",
        help="write what was measured, and what shows each planted mistake, into tests/demo_model/meaning/README.md",
    )


def pytest_terminal_summary(terminalreporter, config):
    lines = MEASURED.lines()
    if not lines:
        return
    terminalreporter.section("meaning: measured >= bar")
    for line in lines:
        terminalreporter.write_line(line)
    if config.getoption("--write-mistakes", default=False):
        counts = ", ".join(f"{len(terminalreporter.stats.get(kind, []))} {kind}" for kind in ("passed", "failed"))
        MEASURED.write(README, f"{date.today()}, torch {torch.__version__}: tests {counts}.")


@pytest.fixture(scope="session")
def model(request) -> Model:
    folder = request.config.getoption("--model", default=None) or PACK / "demo_model" / "files"
    assert folder.is_dir(), f"{folder} is not there: it is part of the repository, demo_model/train.py made it"
    assert GEMMA_270M.is_dir(), f"{GEMMA_270M} is not there: run scripts/setup.sh test"
    return Model.load(folder)


@pytest.fixture(scope="session")
def studio(model) -> Iterator[Studio]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("encode_prompt", "connect"):
            patch.setattr(two_stage, name, once(getattr(two_stage, name)))
        yield Studio(model)


@pytest.fixture(scope="session")
def text_films(studio) -> list[Film]:
    return [studio.film(take) for take in TEXTS]


@pytest.fixture(scope="session")
def image_films(studio) -> list[Film]:
    return [studio.film(take) for take in IMAGES]


@pytest.fixture(scope="session")
def ceiling_films(request, model) -> list[Film]:
    """What the model's autoencoders alone give of drawn clips; none unless they are written down."""
    wanted = request.config.getoption("--write-mistakes", default=False)
    return [through_autoencoders(model, take) for take in IMAGES] if wanted else []


@pytest.fixture(scope="session")
def measured() -> Measured:
    return MEASURED
