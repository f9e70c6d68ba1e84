"""Schemas as they are compared: references followed, `allOf` put together, and what is one of several taken apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cli.release.change import Node, target

MOST_LEVELS: Final = 64
"""Of schemas within schemas, before they are taken for endless."""

UNIONS: Final = ("anyOf", "oneOf")
_KINDS: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A schema of one type (``None``: of any), with everything that it says of itself. ``name`` is the schema's own."""

    schema: Node
    name: str | None
    type: str | None
    values: Sequence[Any] | None = field(default=None)
    """The only ones that it may have, if there are only some."""

    @property
    def is_fixed(self) -> bool:
        """Whether it can be but one value, by which it is told apart from others."""
        return self.values is not None and len(self.values) == 1

    @property
    def mark(self) -> Any:
        """What tells it apart from other shapes of a union: its own value, or that of a field."""
        if self.is_fixed:
            return self.values
        fields = self.schema.get("properties", {})
        return {name: each["const"] for name, each in fields.items() if isinstance(each, dict) and "const" in each}


def shapes(document: Node, schema: Any) -> list[Shape]:
    """What a value of this schema may be, each type and each member of a union by itself."""
    return list(_apart(document, schema, None, 0))


def name_of(schema: Any) -> str | None:
    """The name of the schema that this one is a reference to, if it is one."""
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    return reference.rpartition("/")[2] if isinstance(reference, str) else None


def _apart(document: Node, schema: Any, name: str | None, depth: int) -> Iterator[Shape]:
    if depth > MOST_LEVELS:
        raise ValueError("a schema is defined by itself alone")
    whole = _whole(document, schema, depth)
    own = name_of(schema) or name
    union = next((key for key in UNIONS if key in whole), None)
    if union is None:
        yield from _typed(whole, own)
        return
    rest = {key: value for key, value in whole.items() if key != union}
    for member in whole[union]:
        both = {"allOf": [rest, member]} if rest else member
        yield from _apart(document, both, name_of(member) or own, depth + 1)


def _whole(document: Node, schema: Any, depth: int) -> Node:
    """The schema without references and without `allOf`. ``True`` is one that says nothing, ``False`` takes nothing."""
    if depth > MOST_LEVELS:
        raise ValueError("a schema is defined by itself alone")
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
    parts = [target(document, schema["$ref"])] if "$ref" in schema else []
    merged: Node = {}
    for part in [*parts, *schema.get("allOf", ())]:
        merged = _both(merged, _whole(document, part, depth + 1))
    return _both(merged, own)


def _both(one: Node, other: Node) -> Node:
    """A schema for what satisfies both. What the two say of the same field holds together, too."""
    both = {**one, **other}
    if "required" in both:
        both["required"] = sorted({*one.get("required", ()), *other.get("required", ())})
    if "properties" in both:
        fields = dict(one.get("properties", {}))
        for name, told in other.get("properties", {}).items():
            fields[name] = {"allOf": [fields[name], told]} if name in fields and fields[name] != told else told
        both["properties"] = fields
    return both


def _typed(schema: Node, name: str | None) -> Iterator[Shape]:
    told = schema.get("type")
    kinds = [told] if isinstance(told, str) else told
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if kinds is None and values is not None:
        kinds = list(dict.fromkeys(_KINDS[type(value)] for value in values))
    for kind in kinds or [None]:
        mine = values if values is None else [value for value in values if _is(value, kind)]
        yield Shape(schema=schema, name=name, type=kind, values=mine)


def _is(value: Any, kind: str | None) -> bool:
    found = _KINDS[type(value)]
    return kind is None or found == kind or (kind == "number" and found == "integer")
