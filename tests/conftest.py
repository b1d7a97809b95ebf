"""Makes the pack importable as `ltx_duo`, wherever its folder lies and whatever it is called.

The vendor publishes a package that is also called `ltx_core`; under its own parent name ours never meets it.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

PACK = Path(__file__).resolve().parent.parent

if "ltx_duo" not in sys.modules:
    spec = importlib.util.spec_from_file_location("ltx_duo", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    package = importlib.util.module_from_spec(spec)
    sys.modules["ltx_duo"] = package
    spec.loader.exec_module(package)


@pytest.fixture
def rng(request) -> torch.Generator:
    """A CPU generator with a fresh seed each run; the seed is shown when the test fails."""
    seed = torch.seed() % 2**31
    request.node.user_properties.append(("seed", seed))
    return torch.Generator().manual_seed(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        seeds = [value for name, value in item.user_properties if name == "seed"]
        if seeds:
            report.sections.append(("random seed", str(seeds[0])))
