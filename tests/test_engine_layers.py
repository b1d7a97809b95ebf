"""The engine's parts lie in layers: each imports from its own and from those below, and none imports in a circle.

Read from the source, so that imports inside functions count too.
"""

import ast
import graphlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parent.parent / "ltx_core"
FILES = sorted(ENGINE.rglob("*.py"))

# From the bottom up: files and folders of `ltx_core`, or files of a folder that stand apart from it.
LAYERS = (
    ("errors", "progress"),
    ("config_section", "image_compression", "variants/kind"),
    (
        "stubs",
        "unfinished",
        "safetensors_file",
        "gguf_blocks",
        "gguf_file",
        "other_forms",
        "text/keys",
        "lora_keys",
        "diffusion_keys",
        "key_maps",
        "generation",
        "weights",
        "checkpoint",
        "packed_weights",
        "quantization",
        "gguf_weights",
        "lora",
    ),
    ("kernels", "sampling/geometry"),
    ("transformer", "text", "video_vae", "audio_vae", "vocoder", "upsampler", "duration_head"),
    ("execution",),
    ("sampling",),
    ("variants",),
    ("components", "request", "splicing"),
    ("stage_weights",),
    ("two_stage",),
    ("loading", "film", "prompt_length", "sound_only"),
    ("loading_components",),
    ("fit",),
    ("known_configs",),
    ("usable",),
    ("inspect",),
)
PARTS = {part: number for number, layer in enumerate(LAYERS) for part in layer}


def name_of(path: Path) -> str:
    return path.relative_to(ENGINE).with_suffix("").as_posix()


def part_of(name: str) -> str:
    """The part that a file belongs to: its own name if that is listed, else its folder's."""
    part = name if name in PARTS else name.split("/")[0]
    assert part in PARTS, f"{name}.py: say in LAYERS where it belongs"
    return part


def imports(path: Path) -> Iterator[str]:
    """The engine's files that a file imports, by name; for a folder its `__init__`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for target in (base, *(base / alias.name for alias in node.names)):
                if target.with_suffix(".py").is_file():
                    yield name_of(target)
                elif target != ENGINE and (target / "__init__.py").is_file():
                    yield name_of(target / "__init__")


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names that lead back to the first, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def parts_graph(files: dict[str, Iterable[str]]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for name, imported in files.items():
        part = part_of(name)
        graph.setdefault(part, set()).update(other for other in map(part_of, imported) if other != part)
    return graph


OWN = [path for path in FILES if path != ENGINE / "__init__.py"]
GRAPH = {name_of(path): set(imports(path)) for path in OWN}


def test_there_is_something_to_read():
    assert len(GRAPH) > 60 and sum(map(len, GRAPH.values())) > 200
    assert "kernels/triton_norm" in GRAPH["kernels/norm"], "imports inside functions are not seen"
    assert {part_of(name) for name in GRAPH} == set(PARTS), "LAYERS names what is not there"


def test_no_file_imports_in_a_circle():
    assert circle(GRAPH) == []


def test_no_part_imports_in_a_circle():
    assert circle(parts_graph(GRAPH)) == []


@pytest.mark.parametrize("name", GRAPH)
def test_nothing_imports_upwards(name):
    own = PARTS[part_of(name)]
    assert [other for other in GRAPH[name] if PARTS[part_of(other)] > own] == []


def test_rules_see_what_they_forbid():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert circle(parts_graph({"kernels/a": ["transformer/b"], "transformer/c": ["kernels/d"]}))
    with pytest.raises(AssertionError, match="say in LAYERS"):
        part_of("somewhere/new")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_context_changes_what_a_call_does(path):
    """Threads do not inherit context variables, and readers do not see them."""
    assert "contextvars" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ENGINE / "transformer").glob("*.py")), ids=name_of)
def test_the_formula_knows_no_execution(path):
    source = path.read_text(encoding="utf-8")
    for word in ("triton", "torch.cuda", "torch.compiler", "requires_grad", "fp8"):
        assert word not in source.lower(), word
