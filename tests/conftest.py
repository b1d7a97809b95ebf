"""Makes the pack importable as `ltx_duo`, wherever its folder lies and whatever it is called.

The vendor publishes a package that is also called `ltx_core`; under its own parent name ours never meets it.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

PACK = Path(__file__).resolve().parent.parent

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("ltx_duo", deadline=None)
hypothesis.settings.load_profile("ltx_duo")

# `python -m pytest` puts the pack's folder on the path, where our ltx_core would hide the vendor's.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != PACK]

if "ltx_duo" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "ltx_duo", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["ltx_duo"] = package
    spec.loader.exec_module(package)

# Without a GPU kernels run interpreted: Triton learns it when it is imported, which any file may be the first to do.
if not torch.cuda.is_available():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton")

# Packages that a machine with a GPU may lack, and the tests that are left out there; all others run without.
SERVERS = ("canvas", "registry", "server", "demo_model/test_files.py")
GGUF_TESTS = (
    "parity/test_gemma_from_gguf.py",
    "ltx_core/test_gguf_expansion.py",
    "ltx_core/test_gguf_file.py",
    "ltx_core/test_gguf_models.py",
)
BATCH = ("batch",)
NEEDED_BY = {
    "av": SERVERS + BATCH,
    "playwright": SERVERS,
    "websocket": SERVERS + BATCH,
    "ray": BATCH,
    "gguf": GGUF_TESTS,
}
MISSING = [name for name in NEEDED_BY if importlib.util.find_spec(name) is None]
collect_ignore = sorted({place for name in MISSING for place in NEEDED_BY[name]})
if not set(SERVERS) & set(collect_ignore):
    pytest_plugins = ["ltx_duo.tests.servers", "ltx_duo.tests.films"]


@pytest.fixture
def rng(request) -> torch.Generator:
    """A CPU generator with a fresh seed each run; the seed is shown when the test fails."""
    seed = torch.seed() % 2**31
    request.node.user_properties.append(("seed", seed))
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def official_tensors() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """`official_tensors(component)`: name -> shape of every tensor of that component in the official LTX-2.3 files.

    Components are the files in tests/data/tensor_names (prefix removed); `{0..47}` in a name there stands for each
    number.  The config that belongs to them is tests/data/ltx-2.3-config.json.
    """

    def read(component: str) -> dict[str, tuple[int, ...]]:
        tensors = {}
        for line in (PACK / "tests" / "data" / "tensor_names" / f"{component}.txt").read_text().splitlines():
            name, shape = line.split("\t")
            sizes = tuple(int(size) for size in re.findall(r"\d+", shape))
            numbers = re.search(r"\{(\d+)\.\.(\d+)\}", name)
            if numbers is None:
                tensors[name] = sizes
                continue
            for number in range(int(numbers[1]), int(numbers[2]) + 1):
                tensors[name.replace(numbers[0], str(number))] = sizes
        return tensors

    return read


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        seeds = [value for name, value in item.user_properties if name == "seed"]
        if seeds:
            report.sections.append(("random seed", str(seeds[0])))


@pytest.hookimpl(tryfirst=True)  # before `-m gpu` chooses
def pytest_collection_modifyitems(config, items):
    """GPU tests step aside where there is no GPU; where there is one, all tests that compute on it are GPU tests."""
    if torch.cuda.is_available():
        for item in items:
            if getattr(item.module, "DEVICE", None) == "cuda":
                item.add_marker("gpu")
        return
    absent = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(absent)


def pytest_terminal_summary(terminalreporter):
    """What was left out, and whether the last run on a GPU was of these files."""
    from ltx_duo.benchmarks import gpu_record
    from ltx_duo.scripts.demo.server import NEWER_COMFYUI

    if not NEWER_COMFYUI:
        terminalreporter.write_line("not tested: a ComfyUI newer than the pinned one (LTXDUO_NEWER_COMFYUI names none)")
    if MISSING:
        terminalreporter.write_line(f"not collected, for want of {', '.join(MISSING)}: {', '.join(collect_ignore)}")
    for line in gpu_record.summary(gpu_record.read(), gpu_record.digests()):
        terminalreporter.write_line(f"GPU record: {line}")
