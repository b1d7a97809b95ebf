"""Tests for a GPU are found on a machine that has neither servers nor browsers."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ltx_duo.tests import conftest

PACK = Path(__file__).resolve().parent.parent
TESTS = PACK / "tests"
IGNORED = {TESTS / place for places in conftest.NEEDED_BY.values() for place in places}


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules that importing a file imports."""
    found: set[str] = set()
    for node in _outside_functions(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(PACK).parent.parts)
            base = ["ltx_duo", *package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def reached(path: Path) -> set[str]:
    """All packages that importing a file imports, through files of the pack too; a folder's conftest.py counts."""
    waiting, seen, packages = [path, *(folder / "conftest.py" for folder in path.parents)], set(), set()
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file() or not file.is_relative_to(PACK):
            continue
        seen.add(file)
        for module in imported(file):
            first, *rest = module.split(".")
            if first == "ltx_duo":
                place = PACK.joinpath(*rest)
                waiting += [place.with_suffix(".py"), place / "__init__.py"]
            else:
                packages.add(first)
    return packages


def collected() -> list[Path]:
    return [path for path in TESTS.rglob("test_*.py") if not any(path.is_relative_to(place) for place in IGNORED)]


def test_what_is_collected_without_a_package_does_not_import_it():
    missing = conftest.NEEDED_BY.keys()
    assert {path: reached(path) & missing for path in collected() if reached(path) & missing} == {}


@pytest.mark.parametrize("package", conftest.NEEDED_BY)
def test_what_is_left_out_needs_it(package):
    found = set()
    for place in (TESTS / name for name in conftest.NEEDED_BY[package]):
        found |= {place} if place.is_file() else set(place.rglob("*.py"))
    assert any(package in reached(path) for path in found)


def test_no_gpu_test_is_left_out():
    for place in IGNORED:
        for path in [place] if place.is_file() else place.rglob("*.py"):
            assert "mark.gpu" not in path.read_text(encoding="utf-8"), path
