"""The rooms of the package: imports point down only, and none of them closes a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinybert_jax"
# From the ground up; a module imports its own floor and those below. The commands are the top.
FLOORS = (
    {"arrays", "errors", "extras", "hub", "interrupt", "processes", "sharding", "store", "tracking"},
    {"model"},
    {"data"},
    {"distill", "scoring"},
    {"inference", "augment", "synthetic"},
    {"run", "deploy", "report"},
)
COMMANDS = len(FLOORS)
# Ground-floor modules and `data` stand beside the networks, never on them.
APART = {"data": {"model"}, "scoring": {"model", "distill"}}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(name: str) -> set[str]:
    """The project's modules that a module imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    nearest = set()
    for dotted in found:
        while dotted and dotted not in MODULES:
            dotted = dotted.rpartition(".")[0]
        nearest |= {dotted} - {"", name}
    return nearest


IMPORTS = {name: imports_of(name) for name in MODULES}


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def floor_of(name: str) -> int:
    if name.endswith("__main__"):
        return COMMANDS
    floors = [number for number, rooms in enumerate(FLOORS) if room_of(name) in rooms]
    return floors[0] if floors else COMMANDS


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name):
    if name == "tinybert_jax":  # the package's face hands names on
        return
    above = {other for other in IMPORTS[name] - {"tinybert_jax"} if floor_of(other) > floor_of(name)}
    assert not above, f"{name} imports from above: {above}"
    across = {other for other in IMPORTS[name] if room_of(other) in APART.get(room_of(name), set())}
    assert not across, f"{name} must stand apart from {across}"


def test_no_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
