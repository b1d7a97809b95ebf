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
from torch import nn

from ltx_duo.tests.parity.table import TABLE, ParityTable

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


def randomise(module: nn.Module, generator: torch.Generator, scale: float = 0.02) -> nn.Module:
    """Fills every parameter with noise: matrices keep the signal's size, vectors and tables are near one or zero."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.ndim >= 2 and "table" not in name and "registers" not in name:
                fan_in = parameter[0].numel()
                parameter.copy_(noise * fan_in**-0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * max(scale, 0.1))
    return module


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Loads `source`'s state into `target`, strictly: both must have the same names and shapes."""
    target.load_state_dict(source.state_dict(), strict=True)


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
