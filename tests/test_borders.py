"""The borders between the parts of the pack, read from its source: who may import what, and what nobody may call."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parent.parent
ENGINE = sorted((PACK / "ltx_core").rglob("*.py"))
NODES = sorted((PACK / "nodes").rglob("*.py"))
SHIPPED = [PACK / "__init__.py", *ENGINE, *NODES]

STANDARD = set(sys.stdlib_module_names)
# tokenizers and sentencepiece come with transformers: Gemma's tokenizer without its models.
ENGINE_MAY = {"torch", "numpy", "einops", "safetensors", "transformers", "tokenizers", "sentencepiece"}
NODES_MAY = {"torch", "numpy", "PIL", "av", "comfy_api", "safetensors"}
# Modules of ComfyUI itself, which change from version to version.
COMFYUI = {
    "comfy",
    "comfy_aimdo",
    "comfy_extras",
    "comfy_execution",
    "folder_paths",
    "latent_preview",
    "nodes",
    "server",
    "execution",
}

NEVER_IMPORTED = {"pickle", "dill", "shelve", "marshal", "urllib", "http", "socket", "requests", "aiohttp", "httpx"}
NEVER_IMPORTED |= {"huggingface_hub"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "torch.load", "torch.hub.load", "os.system"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACK))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def absolute_imports(path: Path) -> Iterator[str]:
    """The outermost package of each import that is not relative, wherever in the file it stands."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def relative_imports(path: Path) -> Iterator[Path]:
    """The file or folder in the pack that each relative import names."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1]
            target = base.joinpath(*node.module.split(".")) if node.module else base
            yield from (target / alias.name if (target / alias.name).is_dir() else target for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_there_is_something_to_read():
    assert len(ENGINE) > 50
    assert len(NODES) > 20


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_engine_imports_a_few_libraries_and_nothing_of_comfyui(path):
    # Triton is only there, and only asked for, where there is a GPU.
    kernel = path.parent.name == "kernels" and path.name.startswith("triton_")
    # PyAV is asked for when an image is compressed or a film written.
    film = name_of(path) == "ltx_core/image_compression.py"
    # The gguf package when a GGUF file is opened.
    packed = name_of(path) == "ltx_core/gguf_file.py"
    optional = {"triton": kernel, "av": film, "gguf": packed}
    allowed = ENGINE_MAY | {package for package, asked_for in optional.items() if asked_for}
    assert set(absolute_imports(path)) - STANDARD <= allowed


@pytest.mark.parametrize("path", NODES, ids=name_of)
def test_only_nodes_comfyui_imports_comfyui(path):
    allowed = NODES_MAY | (COMFYUI if path.parent.name == "comfyui" else set())
    assert set(absolute_imports(path)) - STANDARD <= allowed


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_engine_never_reaches_out_of_its_folder(path):
    assert all(target.is_relative_to(PACK / "ltx_core") for target in relative_imports(path))


@pytest.mark.parametrize("path", NODES, ids=name_of)
def test_nodes_reach_into_the_engine_and_each_other_only(path):
    for target in relative_imports(path):
        assert target.is_relative_to(PACK / "ltx_core") or target.is_relative_to(PACK / "nodes")
        assert target.is_dir() or target.with_suffix(".py").is_file(), f"{target} is not there"


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_no_foreign_code_is_run_and_nothing_is_fetched(path):
    assert not set(absolute_imports(path)) & NEVER_IMPORTED
    assert not set(calls(path)) & NEVER_CALLED


def test_rules_see_what_they_forbid(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    import comfy.utils\n    from ..nodes import g\n    torch.load(eval('x'))\n")
    assert list(absolute_imports(path)) == ["comfy"]
    assert list(relative_imports(path)) == [tmp_path.parent / "nodes"]
    assert set(calls(path)) == {"torch.load", "eval"}


# Run in a fresh interpreter: what importing the pack takes, and which libraries it pulls in.
IMPORT = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("pack", sys.argv[1], submodule_search_locations=[])
module = importlib.util.module_from_spec(spec)
before = set(sys.modules)
start = time.process_time()
spec.loader.exec_module(module)
print(time.process_time() - start, *sorted(set(sys.modules) - before))
"""


def test_the_pack_imports_in_milliseconds():
    command = [sys.executable, "-c", IMPORT, str(PACK / "__init__.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, *imported = done.stdout.split()
    assert imported == []
    assert float(seconds) < 0.05


def test_no_file_is_long():
    for path in [*SHIPPED, *(PACK / "scripts").rglob("*.py"), *(PACK / "tests").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, name_of(path)
