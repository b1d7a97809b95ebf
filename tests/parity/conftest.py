"""What every comparison with a reference implementation needs: the packages, equal weights, and the table.

The reference packages lie in `.local/reference` (scripts/test.sh puts them there); they import under their own names
(`ltx_core`, `ltx_pipelines`, `diffusers`), ours as `ltx_duo.ltx_core`.
"""

import platform
import sys
from datetime import date
from pathlib import Path

import pytest
import torch

from ltx_duo.tests.parity.table import TABLE, ParityTable
from ltx_duo.tests.parity.weights import copy_weights, randomise

REFERENCE = Path(__file__).resolve().parents[2] / ".local" / "reference"
if str(REFERENCE) not in sys.path:
    sys.path.append(str(REFERENCE))


README = Path(__file__).with_name("README.md")


@pytest.fixture(scope="session")
def parity() -> ParityTable:
    return TABLE


@pytest.fixture(autouse=True)
def _subject(request) -> None:
    """Rows of a test file stand together in the table."""
    TABLE.subject = request.node.path.stem.removeprefix("test_").replace("_", " ").capitalize()


def pytest_addoption(parser):
    parser.addoption(
        "--write-table", action="store_true", help="write the table of this run into tests/parity/README.md"
    )
    parser.addoption(
        "--vendor-source", type=Path, help="a checkout of Lightricks/LTX-2, for whole_run/check_vendor_source.py"
    )


def pytest_ignore_collect(collection_path, config):
    """What only brings the table figures of checks that tests/nodes runs anyway is for a table that is written."""
    if collection_path.name == "test_comfyui_nodes.py" and not config.getoption("--write-table", default=False):
        return True
    return None


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if not TABLE.rows:
        return
    terminalreporter.section("parity: max |difference| / max |reference|")
    for line in TABLE.lines():
        terminalreporter.write_line(line)
    if config.getoption("--write-table", default=False):
        counts = ", ".join(
            f"{len(terminalreporter.stats.get(kind, []))} {kind}" for kind in ("passed", "failed", "skipped")
        )
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
        TABLE.write(README, f"{date.today()}, {device}, torch {torch.__version__}: tests {counts}.")


@pytest.fixture(name="randomise", scope="session")
def randomise_fixture():
    return randomise


@pytest.fixture(name="copy_weights", scope="session")
def copy_weights_fixture():
    return copy_weights


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield
