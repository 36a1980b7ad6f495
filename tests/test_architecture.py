"""The table of rooms in docs/project/architecture.md, compared with the imports: none upward, no circles."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mossa"
EVERYBODY = {"errors", "names", "hub"}  # at the top level, and used by every room
FRONT = {"cli", "commands", "options", "terminal"}  # the command line
LARGEST_SHARE = 0.15


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of mossa by its dotted name, without `mossa.`."""
    paths = {path.relative_to(SOURCE).with_suffix(""): path for path in sorted(SOURCE.rglob("*.py"))}
    return {".".join(name.parts).removesuffix(".__init__"): ast.parse(path.read_text()) for name, path in paths.items()}


@cache
def imports() -> dict[str, set[str]]:
    """Return what each module imports from mossa when it runs, inside functions too."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in modules().items():
        typing = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if (
                not isinstance(node, ast.ImportFrom)
                or id(node) in typing
                or not (node.module or "").startswith("mossa")
            ):
                continue
            package = (node.module or "").removeprefix("mossa").lstrip(".")
            for alias in node.names:
                inside = f"{package}.{alias.name}".lstrip(".")
                found[name].add(inside if inside in modules() else package)
    return found


def room(module: str) -> str:
    first = module.split(".")[0]
    return "cli" if first in FRONT else first


@cache
def documented() -> list[str]:
    """Return the rooms of the table in docs/project/architecture.md, in its order."""
    text = (ROOT / "docs" / "project" / "architecture.md").read_text()
    table = text.split("| room | holds |", 1)[1].split("\n\n", 1)[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1])]


def test_the_table_of_rooms_names_every_folder_and_no_other() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert {name for name in documented() if name not in FRONT} == folders
    files = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    assert files == EVERYBODY | FRONT


def test_nothing_imports_from_a_room_below_its_own() -> None:
    order = {name: place for place, name in enumerate(documented())}
    upward = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if room(name) in order and room(other) in order and order[room(other)] > order[room(name)]
    ]
    assert not upward


def test_modules_import_each_other_in_no_circle() -> None:
    seen: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in seen:
            return
        for other in imports()[name]:
            if other != name:
                visit(other, (*path, name))
        seen[name] = 1

    for name in list(modules()):
        visit(name, ())


def test_no_room_is_more_than_a_seventh_of_the_source() -> None:
    lines: dict[str, int] = defaultdict(int)
    for path in SOURCE.rglob("*.py"):
        lines[room(".".join(path.relative_to(SOURCE).with_suffix("").parts))] += len(path.read_text().splitlines())
    total = sum(lines.values())
    assert {name: count for name, count in lines.items() if count > LARGEST_SHARE * total} == {}


def test_the_walk_through_the_paper_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "project" / "architecture.md").read_text()
    walk = text.split("## Where is the sentence of the paper?", 1)[1].split("\n## ", 1)[0]
    files = re.findall(r"`([\w/]+\.py)`", walk)
    assert len(files) >= 10 and [name for name in files if not (SOURCE / name).is_file()] == []


def test_the_oldest_versions_that_are_allowed_are_those_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = [*project["dependencies"], *project["optional-dependencies"]["gguf"]]
    bounds = dict(line.split(">=") for line in allowed)
    lines = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if "==" in line]
    tested = {name.lower(): version for name, version in (line.split("==") for line in lines)}
    assert tested.keys() == {name.lower() for name in bounds}
    for name, bound in bounds.items():
        if name != "torch":  # of which one build for CPUs is at hand
            pinned, least = (tuple(map(int, each.split("."))) for each in (tested[name.lower()], bound))
            assert pinned[: len(least)] == least and not any(pinned[len(least) :]), f"{name}: {pinned} is not {least}"
