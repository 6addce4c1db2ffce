"""The bounds of the rooms: few things in a folder, a first sentence for each, and no circle of imports."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("autoscaler", "cluster", "pipelines", "serve_apps", "tests")
MOST_THINGS = 14
# Folders that may hold more: how many, and why.
MORE_THINGS = {
    "tests/benchmarks": (16, "each file is a program that people call by its name"),
}
# Alembic loads these files by their path.
NO_PACKAGES = {"serve_apps/store/migrations/versions"}


def packages() -> list[str]:
    """Every folder with Python files."""
    folders = {str(path.parent.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    return sorted(folders - NO_PACKAGES)


def things(folder: Path) -> list[str]:
    """What somebody who reads the code finds in a folder: files and folders of Python."""
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    return sorted(files + [path.parent.name for path in folder.glob("*/__init__.py")])


def modules() -> dict[str, Path]:
    """Every module of the repository by its name."""
    found = {}
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """Which of the known modules a file imports, wherever in it: in functions and for types, too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= submodules & known or {node.module}
    return found & known


@pytest.mark.parametrize("package", packages())
def test_a_folder_holds_few_things(package: str) -> None:
    found = things(ROOT / package)
    most, _why = MORE_THINGS.get(package, (MOST_THINGS, ""))
    assert len(found) <= most, f"{len(found)} things; make rooms: {found}"


def test_every_exception_is_still_one() -> None:
    assert [package for package in MORE_THINGS if len(things(ROOT / package)) <= MOST_THINGS] == []


@pytest.mark.parametrize("package", packages())
def test_a_folder_says_in_one_sentence_what_lives_there_and_then_how_to_read_it(package: str) -> None:
    init = ROOT / package / "__init__.py"
    assert init.exists(), "a folder of Python is a package"
    said = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    first, _, rest = said.partition("\n\n")
    one_sentence = re.fullmatch(r"(?s)[^.]+(?:\.\w[^.]*)*\.", first.strip())
    assert one_sentence, f"not one sentence: {first!r}"
    names = re.findall(r"(?<![\w/])\w[\w/]*(?:\.py\b|/(?!\w))", rest or first)
    assert len(things(ROOT / package)) < 2 or names or "read" in said.lower(), "it says nothing of how it is read"
    missing = [
        name for name in names if not any((place / name).exists() for place in (init.parent, init.parents[1], ROOT))
    ]
    assert missing == [], "what is named is not there"


def test_no_files_import_one_another_in_a_circle() -> None:
    known = modules()
    graph = {name: imported(ast.parse(path.read_text("utf-8")), set(known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))
