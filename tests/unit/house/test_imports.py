"""No module needs itself to be imported: whichever is asked for first, all that it needs comes in."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROOMS = ("api", "cli", "domain", "infra", "projections", "workers")
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for room in ROOMS
    for file in (ROOT / room).rglob("*.py")
}


def packages(module: str) -> list[str]:
    """The packages that come in with a module, before it."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def imported(module: str) -> Iterator[str]:
    """What a module imports when it is imported itself, by its own name."""
    for node in ast.parse(FILES[module].read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needs(module: str) -> set[str]:
    """A package does not wait for the packages around it, nor for the face of its own: Python begins with those."""
    asked = {name for each in imported(module) for name in (each, *packages(each)) if name in FILES}
    return asked - {module, *packages(module)}


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_module_needs_itself() -> None:
    assert cycle({module: needs(module) for module in FILES}) == []


def test_a_cycle_would_be_found() -> None:
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
