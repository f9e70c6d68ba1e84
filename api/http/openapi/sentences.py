"""What the document says of a field: the docstring that stands below it in its class.

They are read from the source when the document is made. Pydantic would read them each time a process starts, and a
third of the start would be spent on it.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

from api.http.routing.dependant import is_model

Sentences = Mapping[str, str]
"""By the names that fields have in JSON."""


def sentences_of(kind: type[Any]) -> Sentences:
    """Of the fields of a model or a dataclass, also of those that it has inherited."""
    said = {name: text for base in reversed(kind.__mro__) for name, text in _written_in(base).items()}
    if is_model(kind):
        return {field.alias or name: said[name] for name, field in kind.model_fields.items() if name in said}
    return said


def sentences_within(kinds: Iterable[Any]) -> Mapping[str, Sentences]:
    """Of all shapes that these types are made of, by the title of each."""
    seen: set[type[Any]] = set()
    for kind in kinds:
        _walk(kind, seen)
    return {_title(kind): sentences_of(kind) for kind in seen}


def _walk(kind: Any, seen: set[type[Any]]) -> None:
    for part in get_args(kind):
        _walk(part, seen)
    if isinstance(kind, type) and kind not in seen and (is_model(kind) or is_dataclass(kind)):
        seen.add(kind)
        for annotation in _annotations(kind):
            _walk(annotation, seen)


def _annotations(kind: type[Any]) -> Iterator[Any]:
    if is_model(kind):
        yield from (field.annotation for field in kind.model_fields.values())
    else:
        yield from get_type_hints(kind).values()


def _title(kind: type[Any]) -> str:
    named: str | None = kind.model_config.get("title") if is_model(kind) else None
    return named or kind.__name__


def _written_in(kind: type[Any]) -> Sentences:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return _classes_in(file).get(kind.__name__, {}) if file else {}


@cache
def _classes_in(file: str) -> Mapping[str, Sentences]:
    """Of each class in a module, by its name; none where the source is not there."""
    source = Path(file)
    if source.suffix != ".py" or not source.exists():
        return {}
    tree = ast.parse(source.read_bytes())
    return {node.name: dict(_fields(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
