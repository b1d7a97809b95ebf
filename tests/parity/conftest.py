"""What every comparison with a reference implementation needs: the packages, equal weights, and the table.

The reference packages lie in `.local/reference` (scripts/test.sh puts them there); they import under their own names
(`ltx_core`, `ltx_pipelines`, `diffusers`), ours as `ltx_duo.ltx_core`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).resolve().parents[2] / ".local" / "reference"
if str(REFERENCE) not in sys.path:
    sys.path.append(str(REFERENCE))


@dataclass
class ParityTable:
    """Checks results against a reference and keeps every measured error for the table at the end of the run."""

    rows: list[tuple[str, str, float, float]] = field(default_factory=list)

    def check(self, what: str, reference_name: str, ours: Tensor, reference: Tensor, tolerance: float) -> float:
        """Asserts max|ours - reference| / max|reference| <= tolerance; NaN fails.  Tolerance 0 asks for equal bits."""
        assert ours.shape == reference.shape, f"{what}: shape {tuple(ours.shape)}, reference {tuple(reference.shape)}"
        ours, reference = ours.double(), reference.double()
        assert torch.isfinite(reference).all(), f"{what}: the reference is not finite"
        scale = reference.abs().max().clamp_min(1e-30)
        error = ((ours - reference).abs().max() / scale).item()
        self.rows.append((what, reference_name, error, tolerance))
        assert error <= tolerance, f"{what} against {reference_name}: {error:.2e} > {tolerance:.0e}"
        return error


TABLE = ParityTable()


@pytest.fixture(scope="session")
def parity() -> ParityTable:
    return TABLE


def pytest_terminal_summary(terminalreporter):
    if not TABLE.rows:
        return
    terminalreporter.section("parity: max |difference| / max |reference|")
    worst: dict[tuple[str, str, float], float] = {}
    for what, reference, error, tolerance in TABLE.rows:
        key = (what, reference, tolerance)
        worst[key] = max(worst.get(key, 0.0), error)
    for (what, reference, tolerance), error in worst.items():
        terminalreporter.write_line(f"{error:9.1e} (<= {tolerance:.0e})  {what}  [{reference}]")


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
