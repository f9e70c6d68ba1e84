"""Where the sources call the database: which functions ask it for what, and with which statements."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from infra.postgres.statements import Statement

ROOMS: Final = ("api", "cli", "infra", "projections", "workers")
WRITING: Final = frozenset({"execute", "returning", "returning_row", "write", "session"})
READING: Final = frozenset({"fetch", "fetchrow"})


class Call(NamedTuple):
    """A call of a ``Database``. ``statement`` is its SQL, as far as it stands in the source."""

    function: str
    method: str
    statement: str


def calls() -> Iterator[Call]:
    """All calls of all databases in the sources."""
    for room in ROOMS:
        for path in sorted(Path(room).rglob("*.py")):
            module = path.as_posix().removesuffix(".py").replace("/", ".")
            if module != "infra.postgres.pool":
                yield from _of_module(module.removesuffix(".__init__"), ast.parse(path.read_text()))


def _of_module(module: str, tree: ast.Module) -> Iterator[Call]:
    constants: dict[str, ast.expr | None] = {}
    node: ast.AST
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            constants[node.target.id] = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = node.value
    for name, function in _functions(module, tree):
        for inner in ast.walk(function):
            match inner:
                case ast.Call(func=ast.Attribute(value=value, attr=method), args=args) if _is_database(value):
                    yield Call(name, method, _statement(module, args[0], constants) if args else "")


def _functions(name: str, within: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.AsyncFunctionDef]]:
    for node in within.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(f"{name}.{node.name}", node)
        elif isinstance(node, ast.AsyncFunctionDef):
            yield f"{name}.{node.name}", node


def _is_database(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("database", "_database")


def _statement(module: str, node: ast.expr, constants: dict[str, ast.expr | None]) -> str:
    """The text of a call's first argument: SQL, or a statement in Core of the module's that is sent with its values."""
    match node:
        case ast.Starred(value=ast.Call(func=ast.Name(id=name))):
            found = getattr(import_module(module), name, None)
            return found.text if isinstance(found, Statement) else "?"
    return _text(node, constants)


def _text(node: ast.expr | None, constants: dict[str, ast.expr | None]) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) for part in parts)
        case ast.FormattedValue(value=inner):
            return _text(inner, constants)
        case ast.Name(id=name) if name in constants:
            return _text(constants[name], constants)
    return "?"
