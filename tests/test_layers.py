"""The house: who may import whom, what stays light, and who may speak."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orchard.stores

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1] / "src" / "orchard"

# From the ground up: a room may import the rooms of its own floor and of those below.
FLOORS = (
    {"errors"},
    {
        "_filters_serialised", "checksums", "collecting",
        "collections", "composite", "documents", "filters",
        "grid", "memory", "naming", "orders", "preard", "qa", "registry", "sources", "summary",
        "tiff", "tracking",
    },
    {"stores", "engines"},
    {
        "ard", "auth", "delivery", "ordering", "quicklook", "records", "submitting", "tracker",
        "watching",
    },
    {"jobs", "report", "viz"},
    {"auth", "config", "testing"},
    {"demo", "server"},
    {"cli"},
    {"__main__"},
)  # fmt: skip

# What engines may know of stores: the seam's own types, never how a store is opened.
SEAM = {f"orchard.stores.{name}" for name in orchard.stores.__all__ if name != "open_store"}

HEAVY = {
    "dask", "distributed", "ee", "fastapi", "folium", "geopandas", "h5py", "httpx", "matplotlib",
    "numpy", "obstore", "odc", "pandas", "pydantic", "pyproj", "pystac", "rasterio", "shapely",
    "starlette", "uvicorn", "xarray", "yaml", "zarr",
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    name: str
    typing: bool

    @property
    def room(self) -> str:
        parts = self.file.relative_to(ROOT).with_suffix("").parts
        return parts[0]

    @property
    def target(self) -> str:
        return self.name.split(".")[1]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT.parent)}:{self.line} imports {self.name}"


def _statements(node: ast.AST, typing: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Give every node, and whether only type checkers come there."""
    for child in ast.iter_child_nodes(node):
        only = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        yield child, only
        yield from _statements(child, only)


def _imports(file: Path) -> Iterator[Import]:
    package = ("orchard", *file.relative_to(ROOT).with_suffix("").parts[:-1])
    for node, typing in NODES[file]:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("orchard."):
                yield Import(file, node.lineno, name, typing)


FILES = sorted(ROOT.rglob("*.py"))
NODES = {file: list(_statements(ast.parse(file.read_text(encoding="utf-8")))) for file in FILES}
IMPORTS = [found for file in FILES for found in _imports(file)]
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
BETWEEN = [
    found
    for found in IMPORTS
    if {found.target, found.room} <= ROOMS.keys() and found.room != found.target
]


def test_every_module_has_its_floor():
    there = {file.relative_to(ROOT).with_suffix("").parts[0] for file in FILES} - {"__init__"}
    assert there <= ROOMS.keys(), "give the new module its place in FLOORS"


def test_imports_point_downwards():
    wrong = [
        str(found)
        for found in BETWEEN
        if not found.typing and ROOMS[found.target] > ROOMS[found.room]
    ]
    assert not wrong


def test_no_rooms_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {room: set() for room in ROOMS}
    for found in BETWEEN:
        if not found.typing:
            graph[found.room].add(found.target)
    TopologicalSorter(graph).prepare()


def test_stores_and_engines_know_of_each_other_by_the_seam_alone():
    assert not [str(i) for i in BETWEEN if (i.room, i.target) == ("stores", "engines")]
    wrong = [
        str(i)
        for i in BETWEEN
        if (i.room, i.target) == ("engines", "stores") and i.name not in SEAM
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["stores", "engines"])
def test_the_implementations_of_a_seam_do_not_know_each_other(room):
    folders = {path.name for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()}
    wrong = [
        str(found)
        for found in IMPORTS
        for other in folders
        if found.room == room
        and (own := found.file.relative_to(ROOT / room).parts[0]) in folders
        and other != own
        and found.name.startswith(f"orchard.{room}.{other}.")
    ]
    assert not wrong


def _loaded_by(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rpartition("|")[2].strip() for line in out.stderr.splitlines() if "|" in line]
    return {line.split(".")[0] for line in lines}


@pytest.mark.parametrize(
    "code",
    [
        "import orchard",
        "import orchard; dir(orchard); orchard.__version__; orchard.OrchardError",
        "import orchard.orders, orchard.tracking, orchard.errors",
        "from orchard.cli import cli; cli.main(['--help'], standalone_mode=False)",
        "from orchard.cli import cli; cli.main(['submit', '--help'], standalone_mode=False)",
    ],
)
def test_what_must_be_light_is(code):
    assert not _loaded_by(code) & HEAVY


def test_every_public_name_is_there():
    for name in orchard.__all__:
        assert getattr(orchard, name) is not None
    assert set(orchard.__all__) <= set(dir(orchard))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = orchard.nonsense


SPEECH = {
    "print", "input", "basicConfig", "captureWarnings", "dictConfig", "fileConfig", "addHandler",
    "removeHandler", "setLevel",
}  # fmt: skip


def _name(function: ast.expr) -> str | None:
    """The last word of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def test_the_library_never_speaks_and_never_configures_logging():
    wrong = []
    for file in FILES:
        if file.is_relative_to(ROOT / "cli"):
            continue
        for node, _ in NODES[file]:
            if isinstance(node, ast.Call) and _name(node.func) in SPEECH:
                said = ast.unparse(node.func)
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} calls {said}")
    assert not wrong


def test_only_the_command_line_knows_click():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if not file.is_relative_to(ROOT / "cli"):
            assert "import click" not in text, file


def test_every_error_is_drawn_where_it_grows():
    """The tree at the top of errors.py shows every public error of the library, whole."""
    bases = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for nodes in NODES.values()
        for node, _ in nodes
        if isinstance(node, ast.ClassDef)
    }
    parents = {
        name: next((base for base in of if base.endswith("Error") and base in bases), None)
        for name, of in bases.items()
        if not name.startswith("_")
    }
    grown = {name: parent for name, parent in parents.items() if _path(name, parents)}
    assert _drawn(ast.get_docstring(ast.parse((ROOT / "errors.py").read_text("utf-8")))) == grown


def _path(name: str | None, parents: dict[str, str | None]) -> bool:
    """Whether a class comes from the root of the tree."""
    while name is not None and name != "OrchardError":
        name = parents.get(name)
    return name is not None


def _drawn(tree: str) -> dict[str, str | None]:
    """Return the classes of the drawing, each with the one that it hangs from."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in tree.splitlines():
        if match := re.match(r"( {4}[│├└─ ]*)(\w+Error)\b", line):
            depth = (len(match[1]) - 4) // 4
            above[depth:] = [match[2]]
            found[match[2]] = above[depth - 1] if depth else None
    return found
