"""The pages in docs/ and README.md say what is true: messages, nodes, workflows, links, model files, code."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ltx_duo.ltx_core.variants.records import MODEL_VARIANTS
from ltx_duo.scripts.demo.server import LOCAL
from ltx_duo.scripts.demo.workflows.model_files import FILES

PACK = Path(__file__).resolve().parent.parent
DOCS = (
    "recipes.md",
    "ic-loras.md",
    "troubleshooting.md",
    "coming-from-core.md",
    "library.md",
    "several-gpus.md",
    "thousands-of-clips.md",
)
PAGES = [PACK / "README.md", *(PACK / "docs" / name for name in DOCS)]
SOURCES = [path for folder in ("nodes", "ltx_core", "scripts/demo/workflows") for path in (PACK / folder).rglob("*.py")]
CORE = LOCAL / "comfyui-0.30.0"

HOLE = "…"  # in a quoted message: a name or a number
SHORTEST_QUOTE = 20
LOG_HOLE = re.compile(r"%(?:\.\d)?[sdf]")
PYTHON = re.compile(r"(<!-- runnable -->\n)?```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
NODE = re.compile(r"\bLTX(?: (?:[A-Z][A-Za-z-]*))+")
MODEL = re.compile(r"`([\w.-]+)\.safetensors`")
PRODUCT = "LTX Duo"

at_each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Without blocks of code."""
    return re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)


def quotes(text: str) -> list[str]:
    """The quoted messages: each paragraph of lines that begin with >."""
    blocks = re.findall(r"(?:^> .*\n?)+", text, re.MULTILINE)
    return [" ".join(line.removeprefix("> ") for line in block.splitlines()) for block in blocks]


@cache
def said() -> tuple[str, ...]:
    """Every string of the sources, with … for what is filled in."""
    return tuple(text for path in SOURCES for text in strings(ast.parse(text_of(path))))


def strings(tree: ast.AST) -> Iterator[str]:
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield LOG_HOLE.sub(HOLE, node.value)


def is_said(quote: str) -> bool:
    return len(quote) >= SHORTEST_QUOTE and any(quote in text for text in said())


@cache
def nodes() -> frozenset[str]:
    names = json.loads(text_of(PACK / "locales" / "en" / "nodeDefs.json"))
    return frozenset(entry["display_name"] for entry in names.values())


def is_node(name: str) -> bool:
    """A display name, or its plural."""
    return name in nodes() or name.removesuffix("s") in nodes()


@cache
def workflows() -> frozenset[str]:
    return frozenset(path.stem for path in (PACK / "workflows").glob("*.json"))


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(page: Path, target: str) -> bool:
    if target.startswith("https://"):
        return True
    file, _, anchor = target.partition("#")
    path = page.parent / file if file else page
    return path.exists() and (not anchor or anchor in anchors(path))


@cache
def known_files() -> str:
    """Where the publishers' names of model files stand."""
    records = [name for record in MODEL_VARIANTS.values() for name in vars(record.files).values() if name]
    return "\n".join([*records, *(file.name for file in FILES), *said()])


@at_each_page
def test_nodes_say_what_is_quoted(path):
    assert [quote for quote in quotes(text_of(path)) if not is_said(quote) and quote not in PLAIN] == []


# Sentences that are quoted and are nobody's message.
PLAIN = {"The end of every node's help page lists results that may be wrong, and what to try."}


def test_samplers_end_with_such_a_line():
    (line,) = re.findall(r"`(\d+ steps x [^`]+)`", text_of(PACK / "docs" / "troubleshooting.md"))
    assert is_said(line)  # in the docstring of what writes it


def test_there_is_something_to_quote():
    assert len(quotes(text_of(PACK / "docs" / "troubleshooting.md"))) > 25


@at_each_page
def test_nodes_have_these_names(path):
    named = {name for name in NODE.findall(prose(path)) if not name.startswith(PRODUCT)}
    assert {name for name in named if not is_node(name)} == set()


@at_each_page
def test_inputs_of_our_nodes_have_these_names(path):
    """`name` of LTX Node: an input, an output or a choice of it."""
    definitions = json.loads(text_of(PACK / "locales" / "en" / "nodeDefs.json"))
    wrong = []
    for inputs, node in re.findall(r"((?:`\w+`(?:, | and )?)+) (?:of|in) (LTX(?: [A-Z][A-Za-z-]*)+)", prose(path)):
        entry = next(entry for entry in definitions.values() if node.startswith(entry["display_name"]))
        names = set(entry.get("inputs", {})) | {out["name"] for out in entry.get("outputs", {}).values()}
        wrong += [(name, node) for name in re.findall(r"`(\w+)`", inputs) if name not in names | {"cpu"}]
    assert wrong == []


@at_each_page
def test_links_lead_somewhere(path):
    assert [target for _, target in LINK.findall(prose(path)) if not is_there(path, target)] == []


@at_each_page
def test_workflows_have_these_names(path):
    linked = {Path(target).stem: label for label, target in LINK.findall(prose(path)) if "workflows/" in target}
    assert linked.keys() <= workflows()
    assert all(label == name for name, label in linked.items())


@pytest.mark.parametrize("name", sorted(workflows()))
def test_every_workflow_says_what_it_is_which_files_and_which_card(name):
    graph = json.loads(text_of(PACK / "workflows" / f"{name}.json"))
    notes = {node["title"]: node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"}
    assert notes.keys() == {"How to use", "Files", "Which graphics card"}
    assert all(f"{size} GB" in notes["Which graphics card"] for size in (8, 12, 16))


def test_readme_lists_every_workflow():
    (table,) = re.findall(r"^\| Workflow \|.*?\n\n", text_of(PACK / "README.md"), re.MULTILINE | re.DOTALL)
    cells = [row.split("|")[1] for row in table.strip().splitlines()[2:]]
    assert {name.strip() for cell in cells for name in cell.split(",")} == workflows()


@at_each_page
def test_model_files_have_the_publishers_names(path):
    named = set(MODEL.findall(prose(path)))
    assert {name for name in named if name not in known_files()} == set()


def test_core_has_these_nodes():
    """Of the tables of ComfyUI's own nodes: in the version that the page names."""
    page = text_of(PACK / "docs" / "coming-from-core.md")
    section = re.search(r"^## Node by node.*?(?=^## )", page, re.MULTILINE | re.DOTALL)[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    sources = [CORE / "nodes.py", *(CORE / "comfy_extras").glob("*.py")]
    known = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert len(named) > 25
    assert {name for name in named if f'"{name}"' not in known} == set()


@at_each_page
def test_code_is_python(path):
    for _, code in PYTHON.findall(text_of(path)):
        compile(code, path.name, "exec")


def test_the_library_page_runs(tmp_path):
    """Its blocks, one after the other, from a folder like the pack's."""
    blocks = [code for runs, code in PYTHON.findall(text_of(PACK / "docs" / "library.md")) if runs]
    assert len(blocks) >= 5
    for name, place in (("ltx_core", PACK / "ltx_core"), ("demo_model", PACK / "demo_model"), (".local", LOCAL)):
        (tmp_path / name).symlink_to(place)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([9, 128, 128, 3]) 24.0 torch.Size([1, 2, " in done.stdout
    assert "7 steps of sampling" in done.stdout  # 4 + 3
    assert "torch.Size([1, 2, 71520]) 48000" in done.stdout  # 1.5 s are 38 latents, of which the first is shorter
    assert "width is 100, expected a multiple of 32 pixels" in done.stdout
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("film.mp4", "back.mp4", "cheaper.mp4"))


def test_readme_has_two_commands():
    section = re.search(r"^## Two commands\n.*?^```\n(.*?)^```", text_of(PACK / "README.md"), re.MULTILINE | re.DOTALL)
    assert section[1].splitlines() == ["bash scripts/demo.sh", "bash scripts/test.sh"]


class TestRulesSeeWhatTheyForbid:
    def test_messages(self):
        assert is_said("The sigmas end at … and not at 0")
        assert not is_said("The sigmas end at 3 and not at 0")
        assert not is_said("The sigmas end at … and never at 0")
        assert not is_said("sigma")
        assert quotes("a\n\n> one\n> two\n\nb\n> three\n") == ["one two", "three"]

    def test_names(self):
        assert is_node("LTX Guidance") and is_node("LTX Image Conditions")
        assert not is_node("LTX Sampler") and not is_node("LTX Guidance Node")

    def test_links(self):
        page = PACK / "docs" / "recipes.md"
        assert is_there(page, "recipes.md#small-cards") and is_there(page, "#small-cards")
        assert not is_there(page, "recipes.md#large-cards") and not is_there(page, "nothing.md")
